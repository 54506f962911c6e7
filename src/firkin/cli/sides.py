"""The two sides of a copy: options that hold for one of them, and the clients that they need. Does I/O. `cli` only.

The options are skopeo's. `src` and `dest` share a client unless one of them was given.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import msgspec

from firkin.ambient import absolute
from firkin.cli.arguments import Arguments
from firkin.cli.command import Invocation
from firkin.cli.options import Option
from firkin.cli.requests import settings_of
from firkin.cli.store import find_image, open_client, warn_plainly
from firkin.errors import RegistryError, UsageError
from firkin.images.copy.opening import Opener
from firkin.images.copy.places import Place
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.settings import Settings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

Side = Literal["src", "dest"]

_MISSING = (401, 403, 404)  # what a registry answers that does not have a name


def _of_side(side: Side, what: str) -> tuple[Option, ...]:
    def row(name: str, kind: str, help: str, metavar: str = "") -> Option:
        dest = f"{side}_{name.replace('-', '_')}"
        return Option((f"--{side}-{name}",), dest, kind, help, metavar, takes_value=kind == "text")  # type: ignore[arg-type]

    def refused(name: str, hint: str) -> Option:
        return Option((f"--{side}-{name}",), "", "refused", hint)

    return (
        row("creds", "text", f"log in to the {what} as USER (`firkin login` keeps passwords safer)",
            "USER[:PASSWORD]"),
        row("username", "text", f"log in to the {what} as USER", "USER"),
        row("password", "text", f"the password for `--{side}-username`", "PASSWORD"),
        row("registry-token", "text", f"send this bearer token to the {what}", "TOKEN"),
        row("no-creds", "flag", f"be nobody to the {what}"),
        row("authfile", "text", f"look for credentials of the {what} in FILE only", "FILE"),
        row("tls-verify", "flag", f"with `=false`, speak plain HTTP with the {what}, or accept any certificate"),
        row("cert-dir", "text", f"trust the CAs (`*.crt`) in DIR for the {what}, and present the client certificate "
            "there (`*.cert`, `*.key`)", "DIR"),
        refused("daemon-host", "there is no daemon to copy from or to"),
        refused("shared-blob-dir", "each layout has its own blobs"),
    )  # fmt: skip


SIDES = (*_of_side("src", "source"), *_of_side("dest", "destination"))


class Sides:
    """Opens stores and clients when they are needed; `ends` makes the one of these."""

    def __init__(self, invocation: Invocation, settings: Settings, cancel: Cancel, stack: ExitStack) -> None:
        self._arguments = invocation.arguments
        self._cwd = invocation.ambient.cwd
        self._cancel = cancel
        self._stack = stack
        self._store: Store | None = None
        self._clients: dict[int, RegistryClient] = {}
        self._asked: list[str] = []
        self.settings = settings
        self.warn: Callable[[str, str], None] = warn_plainly

    def store(self) -> Store:
        """Return the store."""
        if self._store is None:
            import time

            self._store = self._stack.enter_context(Store(self.settings.root, time.time))
        return self._store

    def opener(self, place: Place, side: Side | None = None) -> Opener:
        """Return what opens an end, with the settings of its side."""
        return Opener(lambda: self.client(place, side), self.store, find_image, self._path, self._cancel)

    def client(self, place: Place, side: Side | None = None) -> RegistryClient:
        """Return the client of a side: the common one if nothing was said about the side."""
        common = self.settings.registry
        registry = common if side is None else side_settings(common, self._arguments, side, place, self._cwd)
        if place.transport == "docker" and side != "dest":
            self._asked.append(place.name)
        key = 0 if registry is common else 1 if side == "src" else 2
        if key not in self._clients:
            settings = self.settings._replace(registry=registry)
            client = open_client(settings, self._cancel, lambda code, message: self.warn(code, message))
            self._clients[key] = self._stack.enter_context(client)
        return self._clients[key]

    def in_the_store(self) -> str:
        """Return the name, of those that a registry was asked for, that the store has; "" for none."""
        from firkin.store.names import names_in

        kept = names_in(self.settings.root)
        return next((name for name in self._asked for tag in (name, f"{name}:latest") if tag in kept), "")

    def _path(self, path: str) -> str:
        return path if path == "-" else absolute(self._cwd, path)


@contextmanager
def open_sides(invocation: Invocation, cancel: Cancel) -> Iterator[Sides]:
    """Yield the sides of an invocation; everything that was opened is closed in the end.

    Who names an image of the store as `docker` has it, and not as this command, gets a hint.
    """
    with ExitStack() as stack:
        sides = Sides(invocation, settings_of(invocation.arguments, invocation.ambient), cancel, stack)
        try:
            yield sides
        except RegistryError as error:
            missing = error.status in _MISSING or error.code in ("registry-missing", "registry-unreachable")
            if missing and (name := sides.in_the_store()):
                error.hints = (f"the store has this name: `store:{name}`", *error.hints)
            raise


def side_settings(
    base: RegistrySettings, arguments: Arguments, side: Side, place: Place, cwd: str
) -> RegistrySettings:
    """Return the settings of one side, `base` itself if nothing was said about it. Raises UsageError."""
    given = [name for name in _NAMES if arguments.given(f"{side}_{name}")]
    if not given or place.transport != "docker":
        return base
    host = place.reference.registry
    settings = _credentials(base, arguments, side, host, cwd)
    if arguments.given(f"{side}_tls_verify") and not arguments.flag(f"{side}_tls_verify"):
        settings = msgspec.structs.replace(
            settings, insecure=(*settings.insecure, host), skip_tls_verify=(*settings.skip_tls_verify, host)
        )
    directory = arguments.text(f"{side}_cert_dir")
    return _certificates(settings, absolute(cwd, directory), host) if directory else settings


_NAMES = ("creds", "username", "password", "registry_token", "no_creds", "authfile", "tls_verify", "cert_dir")


def _credentials(
    base: RegistrySettings, arguments: Arguments, side: Side, host: str, cwd: str
) -> RegistrySettings:
    user, _, password = arguments.text(f"{side}_creds").partition(":")
    user = user or arguments.text(f"{side}_username")
    password = password or arguments.text(f"{side}_password")
    token = arguments.text(f"{side}_registry_token")
    nobody = arguments.flag(f"{side}_no_creds")
    if sum((bool(user), bool(token), nobody)) > 1:
        raise UsageError(f"`--{side}-creds`, `--{side}-registry-token` and `--{side}-no-creds` exclude one another")
    if nobody:
        return msgspec.structs.replace(base, auth_files=(), auth_json="", credential_helpers=())
    if user or token:
        pair = base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()
        entry = {"registrytoken": token} if token else {"auth": pair}
        key = "https://index.docker.io/v1/" if host == "docker.io" else host
        document = msgspec.json.encode({"auths": {key: entry}}).decode()
        return msgspec.structs.replace(base, auth_files=(), auth_json=document, credential_helpers=())
    file = arguments.text(f"{side}_authfile")
    return msgspec.structs.replace(base, auth_files=(absolute(cwd, file),), auth_json="") if file else base


def _certificates(settings: RegistrySettings, directory: str, host: str) -> RegistrySettings:
    """Add what a directory like those in `/etc/docker/certs.d` holds."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise UsageError(f"cannot read {directory}: {(error.strerror or '').lower()}") from error
    roots = tuple((host, f"{directory}/{name}") for name in names if name.endswith(".crt"))
    pairs = tuple(
        (host, f"{directory}/{name}", f"{directory}/{name.removesuffix('.cert')}.key")
        for name in names if name.endswith(".cert") and f"{name.removesuffix('.cert')}.key" in names
    )  # fmt: skip
    return msgspec.structs.replace(
        settings, ca_files=(*settings.ca_files, *roots), client_certs=(*settings.client_certs, *pairs)
    )


PLATFORM = Option(("--platform",), "platform", "text", "of an image for several platforms, take this one",
                  "OS/ARCH[/VARIANT]")  # fmt: skip


def platforms_of(arguments: Arguments) -> tuple[Platform, ...]:
    """Return the platforms of `--platform`, which may be a list or repeated. Raises UsageError."""
    try:
        return tuple(
            dict.fromkeys(
                parse_platform(text.strip(), this_platform())
                for value in arguments.many("platform") for text in value.split(",")
            )
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None

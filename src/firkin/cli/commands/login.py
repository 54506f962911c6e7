"""`firkin login`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import base64
import os

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.requests import registry_host, settings_of
from firkin.cli.store import say
from firkin.errors import RegistryError, UsageError
from firkin.linux.ending import watch
from firkin.registry.client import RegistryClient
from firkin.registry.keychain import login

USAGE = "[OPTIONS] [REGISTRY]"
ABOUT = (
    "Check credentials with a registry and keep them in config.json, or in the credential helper that it names, "
    "where docker finds them too. REGISTRY defaults to docker.io."
)
OPTIONS = (
    Option(("--username", "-u"), "username", "text", "the user's name", "NAME"),
    Option(("--password-stdin",), "password_stdin", "flag", "read the password from standard input", takes_value=False),
    Option(("--password", "-p"), "", "refused", "everybody on this machine can read it there; use `--password-stdin`"),
    *REGISTRY,
    *COMMON,
)
_MAX_SECRET_BYTES = 64 * 1024


def run(invocation: Invocation) -> int:
    """Ask, check with the registry, store. Raises UsageError."""
    arguments, ambient = invocation
    watch()
    host = registry_host(arguments, "login")
    settings = settings_of(arguments, ambient)
    username = arguments.text("username")
    if arguments.flag("password_stdin"):
        if not username:
            raise UsageError("`--password-stdin` needs `--username`")
        with open(0, "rb", closefd=False) as stream:
            secret = stream.read(_MAX_SECRET_BYTES).decode("utf-8", "surrogateescape").rstrip("\r\n")
    else:
        if not os.isatty(0):
            raise UsageError("there is no terminal to ask for a password",
                             hints=("pipe it in: `firkin login -u NAME --password-stdin REGISTRY`",))  # fmt: skip
        username, secret = _ask(username)
    if not secret:
        raise UsageError("the password is empty")
    pair = base64.b64encode(f"{username}:{secret}".encode("utf-8", "surrogateescape")).decode()
    key = "https://index.docker.io/v1/" if host in ("docker.io", "index.docker.io", "registry-1.docker.io") else host
    trial = msgspec.structs.replace(
        settings.registry,
        auth_files=(),
        auth_json=msgspec.json.encode({"auths": {key: {"auth": pair}}}).decode(),
    )
    with RegistryClient(trial) as client:
        try:
            client.check_access(host)
        except RegistryError as error:
            if error.status == 401:  # the original hints would describe the credentials document made above
                error.hints = (f"`{host}` does not know this user name and password",)
            raise
    place = settings.registry.auth_files[0]
    try:
        where = login(place, host, username, secret, settings.registry.helper_path, dict(ambient.environ))
    except OSError as error:
        raise UsageError(f"cannot write {place}: {(error.strerror or '').lower()}") from error
    say(f"login succeeded; the credentials are in {where}")
    return 0


def _ask(username: str) -> tuple[str, str]:
    import getpass

    try:
        return username or input("username: "), getpass.getpass("password: ")
    except EOFError:
        raise UsageError("no password was given") from None

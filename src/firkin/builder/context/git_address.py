"""Addresses of git repositories: parsing, submodules' addresses, and credentials for each address. Pure.

Only the git modules of context/ import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from firkin.registry.url import DEFAULT_PORTS, redact_url, split_host

_SCHEMES = ("https", "http", "ssh", "git")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


class Origin(NamedTuple):
    """The server of an address: scheme, and `name[:port]` in lower case without the scheme's default port."""

    scheme: str
    host: str


class Address(NamedTuple):
    """A remote repository. `login` is `user[:password]`, `host` is `name[:port]` as written."""

    scheme: str
    login: str
    host: str
    path: str

    @property
    def origin(self) -> Origin:
        """The server of this address."""
        host = self.host.lower()
        port = split_host(host)[1]
        own = bool(port) and port == DEFAULT_PORTS.get(self.scheme)
        return Origin(self.scheme, host[: -len(port) - 1] if own else host)

    @property
    def user(self) -> str:
        """The user to log in as, "" if the address names none."""
        return self.login.partition(":")[0]


def parse_address(url: str) -> Address:
    """Read `SCHEME://[USER@]HOST/PATH`, `[USER@]HOST:PATH` (ssh) or `HOST/PATH` (https); raises ValueError.

    No part of an accepted address can be mistaken for an option or for a line of a protocol.
    """
    if any(ord(char) < 32 or ord(char) == 127 for char in url):
        raise ValueError(f"{redact_url(url)!r} has control characters")
    address = _split(url)
    if not _names_host(address):
        raise ValueError(f"`{redact_url(url)}` names no host")
    if address.login.startswith("-") or not address.path.strip("/") or address.path.startswith(("-", ":")):
        raise ValueError(f"`{redact_url(url)}` names no repository")
    return address


def _split(url: str) -> Address:
    """Split an address into its parts; only the scheme is checked."""
    scheme, separator, rest = url.partition("://")
    if separator:
        scheme = scheme.lower()
        if scheme not in _SCHEMES:
            raise ValueError(f"the scheme `{scheme}` is not one of {', '.join(_SCHEMES)}")
        place, _, path = rest.partition("/")
        login, _, host = place.rpartition("@")
        return Address(scheme, login, host, path if scheme in DEFAULT_PORTS else "/" + path)
    head, colon, path = url.partition(":")
    if colon and "/" not in head:
        login, _, host = head.rpartition("@")
        return Address("ssh", login, host, path)
    host, _, path = url.partition("/")
    return Address("https", "", host, path)


def _names_host(address: Address) -> bool:
    name, port = split_host(address.host)
    if not name or name.startswith("-") or not (_HOST.issuperset(name) or address.host.startswith("[")):
        return False
    if port and not (port.isascii() and port.isdigit()):
        return False
    return not set("?#\\").intersection(address.login)  # another URL parser could find another host here


def submodule_url(base: str, address: str) -> str:
    """Return the address of a submodule of the repository at `base`; raises ValueError.

    The author of the repository wrote .gitmodules, who is not trusted: files of this machine and commands
    (`file://`, `/path`, `ext::`) are refused. Relative addresses stay at the parent's host.
    """
    if address.startswith(("./", "../")):
        url = join_remote(base, address)
        if parse_address(url).origin != parse_address(base).origin:
            raise ValueError(f"`{address}` leads above the host")
        return url
    if "://" not in address and (address.startswith("/") or ":" not in address.partition("/")[0]):
        raise ValueError(f"`{redact_url(address)[:200]!r}` is a path of this machine, or no address")
    parse_address(address)
    return address


def join_remote(base: str, address: str) -> str:
    """Resolve a submodule's URL, which may be relative (`../other.git`) to its parent's."""
    if not address.startswith(("./", "../")):
        return address
    base = base.rstrip("/")
    while address.startswith(("./", "../")):
        if address.startswith("../"):
            cut = max(base.rfind("/"), base.rfind(":") if "://" not in base else -1)
            base = base[:cut] if base[cut] == "/" else base[: cut + 1]
            address = address[3:]
        else:
            address = address[2:]
    return f"{base}{address}" if base.endswith(":") else f"{base}/{address}"


class GitCredentials(NamedTuple):
    """Credentials, and the hosts that may get them.

    `secrets` are GIT_AUTH_TOKEN and GIT_AUTH_HEADER, and `NAME.HOST`; `environ` has GIT_TOKEN, GIT_USERNAME and
    GIT_PASSWORD. A credential that names no host is for `home` only, the scheme and host that the user gave it for.
    It is never sent to a host that a .gitmodules, a redirect or somebody else's Dockerfile names. A credential that
    names a host is sent there over https, and over the scheme that the user wrote.
    Mirrors: moby/buildkit source/git, authSecretNames and tokenScope (which knows the repository only).
    """

    secrets: Mapping[str, bytes]
    environ: Mapping[str, str]
    home: Origin

    def authorization(self, address: Address) -> str:
        """Return the Authorization header for an address, "" for none."""
        at_home = address.origin == self.home
        suffixes: list[str] = []
        if at_home or address.scheme == "https":
            suffixes.append("." + address.host.lower())
        if at_home:
            suffixes += ["." + split_host(address.host.lower())[0], ""]
        for suffix in suffixes:
            header = self.secrets.get("GIT_AUTH_HEADER" + suffix)
            if header is not None:
                return header.decode().strip()
            token = self.secrets.get("GIT_AUTH_TOKEN" + suffix)
            if token is not None:
                return _basic(b"x-access-token:" + token.strip())
        if not at_home:
            return ""
        user, password = self.environ.get("GIT_USERNAME", ""), self.environ.get("GIT_PASSWORD", "")
        if self.environ.get("GIT_TOKEN"):
            user, password = self.environ["GIT_TOKEN"], ""
        return _basic(f"{user}:{password}".encode()) if user else ""


def _basic(login: bytes) -> str:
    from base64 import b64encode

    return "basic " + b64encode(login).decode()

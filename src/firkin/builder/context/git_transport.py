"""Connects dulwich to repositories: http by firkin's own transport, ssh by the ssh program. Does I/O.

Only `git_remote` imports it.
"""

from __future__ import annotations

import os
import shlex
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dulwich.client import AbstractHttpGitClient, SSHGitClient, SSHVendor, SubprocessWrapper, TCPGitClient
from dulwich.errors import GitProtocolError, NotGitRepository
from dulwich.protocol import CAPABILITY_PACKFILE_URIS

from firkin.builder.context.https import Web
from firkin.linux.ending import at_end, kill_tree
from firkin.registry.transport import Exchange
from firkin.registry.url import split_url

_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
_CREDENTIALS = ("GIT_TOKEN", "GIT_USERNAME", "GIT_PASSWORD")  # for http only; ssh must not see them
_REFS = ("/info/refs?service=git-upload-pack", "/info/refs")
_ANY = tuple(range(200, 600))


MAX_TALK_BYTES = 128 << 20


class Talk:
    """Limits what a server sends besides packs (refs, progress), because dulwich keeps refs in memory."""

    def __init__(self) -> None:
        self._bytes = 0

    def take(self, size_bytes: int) -> None:
        """Count received bytes. The writer of a pack subtracts its bytes again (negative). Raises ValueError."""
        self._bytes += size_bytes
        if self._bytes > MAX_TALK_BYTES:
            raise ValueError(f"the server says more than {MAX_TALK_BYTES >> 20} MiB besides its objects")

    def counted(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Return the same function, but it counts the bytes and raises TimeoutError for None."""

        def counting(size: int) -> bytes:
            data: bytes | None = read(size)
            if data is None:
                raise TimeoutError("the server says nothing")
            self.take(len(data))
            return data

        return counting


class _Answer:
    """An HTTP answer, with the attributes that dulwich uses."""

    def __init__(self, exchange: Exchange, asked: str) -> None:
        self._exchange = exchange
        self._chunks = exchange.chunks()
        self._rest = b""
        self.status = exchange.status
        self.content_type = exchange.head().header("content-type") or None
        final = str(exchange.url)
        self.redirect_location = final if final != asked else ""

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        if size < 0:
            data, self._rest = self._rest + b"".join(self._chunks), b""
            return data
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        self._exchange.close()


class PlainFiles(GitProtocolError):
    """The server does not speak git's protocol; it serves the repository's files."""


class HttpGitClient(AbstractHttpGitClient):
    """Git over http(s), with the same proxies, certificates, redirects and retries as all other requests.

    Raises PlainFiles for a server without git; `git_dumb.py` reads such a repository.
    """

    def __init__(self, place: str, web: Web, talk: Talk) -> None:
        super().__init__(place, quiet=True)
        self._place = place
        self._talk = talk
        self._web = web
        self._fetch_capabilities.discard(CAPABILITY_PACKFILE_URIS)

    def _get_url(self, path: str | bytes) -> str:
        return self._place + "/"  # not urljoin: a path like `//host/x` would lead to another host

    def _discover_references(self, *arguments: Any, **named: Any) -> Any:
        found = super()._discover_references(*arguments, **named)
        if self.dumb:
            raise PlainFiles("the server has plain files only")
        return found

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[Any, Callable[[int], bytes]]:
        if data is None and not url.endswith(_REFS):
            raise GitProtocolError("the server wants packs to be fetched elsewhere (packfile-uris)")
        body = data if data is None or isinstance(data, bytes) else b"".join(data)
        sent = tuple((name, value) for name, value in (headers or {}).items() if name.lower() != "content-length")
        exchange = self._web.open(url, sent, body=body, accept=(200, 404) if raise_for_status else _ANY)
        if raise_for_status and exchange.status == 404:
            exchange.close()
            raise NotGitRepository("the server knows no such repository (404)")
        answer = _Answer(exchange, str(split_url(url)))
        return answer, self._talk.counted(answer.read)


class TcpGitClient(TCPGitClient):
    """Git by its own protocol. It gives up on a server that sends nothing for `timeout_s`."""

    def __init__(self, host: str, port: int | None, talk: Talk, timeout_s: float) -> None:
        super().__init__(host, port)
        self._talk = talk
        self._timeout_s = timeout_s

    def _connect(self, *arguments: Any, **named: Any) -> Any:
        protocol, can_read, stderr = super()._connect(*arguments, **named)
        # dulwich has no timeouts. The option belongs to the connection, so any descriptor of it can set it.
        reader: Any = protocol.read
        with socket.socket(fileno=os.dup(reader.__self__.fileno())) as connection:
            whole, part = divmod(self._timeout_s, 1)
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(whole), int(part * 1_000_000))
            )
        protocol.read = self._talk.counted(protocol.read)
        return protocol, can_read, stderr


class SshGitClient(SSHGitClient):
    """Git over ssh."""

    def __init__(self, host: str, port: int | None, user: str | None, program: SSHVendor, talk: Talk) -> None:
        super().__init__(host, port, user, vendor=program)
        self._talk = talk

    def _connect(self, *arguments: Any, **named: Any) -> Any:
        protocol, can_read, stderr = super()._connect(*arguments, **named)
        protocol.read = self._talk.counted(protocol.read)
        return protocol, can_read, stderr


class SshProgram(SSHVendor):
    """Runs `ssh` (or GIT_SSH_COMMAND) with the environment of the request."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name: value for name, value in environ.items() if name not in _CREDENTIALS}

    def run_command(
        self,
        host: str,
        command: bytes,
        username: str | None = None,
        port: int | None = None,
        password: str | None = None,
        key_filename: str | None = None,
        ssh_command: str | None = None,
        protocol_version: int | None = None,
    ) -> SubprocessWrapper:
        """Start the program for git on a host, without prompts.

        Raises ValueError for a host or user that would be an option.
        """
        if host.startswith("-") or (username or "").startswith("-"):
            raise ValueError(f"`{host}` is no host name")
        argv = shlex.split(self._environ.get("GIT_SSH_COMMAND", ""))
        if not argv:
            argv, username = self._own_command(username)
        argv += ["-x", "-o", "BatchMode=yes"]
        if port is not None:
            argv += ["-p", str(port)]
        if protocol_version is None or protocol_version == 2:
            argv += ["-o", "SetEnv GIT_PROTOCOL=version=2"]
        argv += [f"{username}@{host}" if username else host, command.decode("utf-8", "surrogateescape")]
        process = subprocess.Popen(
            argv, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._environ
        )
        at_end(lambda: kill_tree(process.pid))
        return SubprocessWrapper(process)

    def _own_command(self, username: str | None) -> tuple[list[str], str | None]:
        """Return a command for ssh that finds the user's files. ssh takes the home directory from the user database.

        In a user namespace it finds root there, whose home is not the user's.
        """
        home = self._environ.get("HOME", "")
        if not home or home == _home_of_this_user():
            return ["ssh"], username
        argv = ["ssh"]
        settings = ""
        place = f"{home}/.ssh"
        try:
            with open(f"{place}/config", encoding="utf-8", errors="replace") as file:
                settings = file.read().lower()
            argv += ["-F", f"{place}/config"]
        except OSError:
            username = username or self._environ.get("LOGNAME")
        if "userknownhostsfile" not in settings:
            argv += ["-o", f'UserKnownHostsFile="{place}/known_hosts" "{place}/known_hosts2"']
        for name in _IDENTITIES:
            if os.path.isfile(f"{place}/{name}"):
                argv += ["-o", f'IdentityFile="{place}/{name}"']
        return argv, username


def _home_of_this_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""

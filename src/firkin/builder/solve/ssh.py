"""SSH agents for RUN --mount=type=ssh: the user's own, or one that serves private keys. Does I/O.

A command never gets the agent's own socket but one that firkin serves. This socket has the owner and mode that
the mount asks for, and passes on only requests for keys and signatures, never requests that change the agent.
Mirrors: moby/buildkit session/sshforward. Protocol: draft-miller-ssh-agent.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from firkin.builder.graph.ops import SshMount
from firkin.builder.request import SshAgent
from firkin.errors import HostError, UsageError
from firkin.hints import Hint
from firkin.linux.files import read_named
from firkin.linux.folders import remove_tree
from firkin.tasks.pools import Pool

_REQUEST_IDENTITIES, _SIGN_REQUEST, _EXTENSION = 11, 13, 27
_BIND = b"session-bind@openssh.com"
"""The one extension that is passed on: without it keys that are bound to destinations do not sign."""
_REFUSED = b"\0\0\0\1\x05"  # SSH_AGENT_FAILURE
_MAX_MESSAGE = 256 << 10
_PIECE = 1 << 16
_NAME = "agent"
_START_S = 10.0
_CONFIRM_S = 120.0  # a person may have to agree, or to touch a key


class SshAgents:
    """The agents of one build, by the ids of `--ssh`. Those for keys are started on first use. Thread-safe.

    `scratch` is a directory to be made, `path` the PATH in which programs are looked up. Raises
    UsageError for a path that is neither a socket nor a key.
    """

    def __init__(self, agents: tuple[SshAgent, ...], scratch: str, path: str) -> None:
        self._scratch = scratch
        self._path = path
        self._lock = threading.Lock()
        self._keys: dict[str, tuple[str, ...]] = {}
        self._places: dict[str, str] = {}
        self._servers: list[_KeyServer] = []
        for agent in agents:
            if _is_socket(agent):
                self._places[agent.id] = agent.paths[0]
            else:
                self._keys[agent.id] = agent.paths

    def get(self, agent: str) -> str | None:
        """Return where an agent listens, None for an id that was not given. Raises HostError, UsageError."""
        with self._lock:
            if agent in self._keys and agent not in self._places:
                server = _KeyServer(agent, self._keys[agent], f"{self._scratch}-{len(self._servers)}", self._path)
                self._servers.append(server)
                self._places[agent] = server.start()
            return self._places.get(agent)

    def close(self) -> None:
        """End the agents that were started here."""
        for server in self._servers:
            server.close()


def _is_socket(agent: SshAgent) -> bool:
    """Say whether an agent is a socket and not files with keys."""
    for path in agent.paths:
        try:
            kind = stat.S_IFMT(os.stat(path).st_mode)
        except OSError as error:
            raise UsageError(
                f"cannot read {path}: {(error.strerror or '').lower()}",
                code="ssh",
                option=_option(agent.id),
                hints=("is `ssh-agent` running, and SSH_AUTH_SOCK its socket?",),
            ) from None
        if kind == stat.S_IFSOCK:
            if len(agent.paths) > 1:
                raise UsageError(
                    "give one agent's socket or private keys, not both", code="ssh", option=_option(agent.id)
                )
            return True
        if kind != stat.S_IFREG:
            raise UsageError(f"{path} is neither a socket nor a private key", code="ssh", option=_option(agent.id))
    return False


def _option(agent: str) -> Hint:
    return Hint.of("option-ssh", id=agent)


class _KeyServer:
    """An `ssh-agent` with keys from files; it ends when this process does."""

    def __init__(self, agent: str, keys: tuple[str, ...], place: str, path: str) -> None:
        self._agent = agent
        self._keys = keys
        self._place = place
        # SSH_ASKPASS must not ask: nobody is there to answer.
        self._environ = {"PATH": path, "SSH_AUTH_SOCK": _NAME, "SSH_ASKPASS_REQUIRE": "never", "HOME": place}
        self._shell: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def start(self) -> str:
        """Start the agent, add the keys and return where it listens."""
        program = shutil.which("ssh-agent", path=self._environ["PATH"])
        adder = shutil.which("ssh-add", path=self._environ["PATH"])
        if program is None or adder is None:
            raise HostError(
                "serving keys needs `ssh-agent` and `ssh-add`",
                code="ssh-agent",
                option=_option(self._agent),
                hints=(Hint.of("ssh-agent"),),
            )
        os.mkdir(self._place, 0o700)
        # The agent ends with the command that it starts; that command ends when this process closes its input.
        command = [program, "-a", _NAME, "sh", "-c", "echo $SSH_AGENT_PID && exec cat"]
        self._shell = subprocess.Popen(
            command, cwd=self._place, env=self._environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._shell.stdout is not None and self._shell.stderr is not None
        answer = self._shell.stdout.readline().strip()
        if not answer.isdigit():
            why = self._shell.stderr.read(_PIECE).decode("utf-8", "replace").strip()
            raise HostError(f"ssh-agent does not start: {why}", code="ssh-agent", option=_option(self._agent))
        self._pid = int(answer)
        for key in self._keys:
            self._add(adder, key)
        return f"{self._place}/{_NAME}"

    def _add(self, adder: str, key: str) -> None:
        """Add one key. It goes through a pipe, so the file's mode and owner do not matter."""
        try:
            data = read_named(key, _MAX_MESSAGE)
        except OSError as error:
            why = (error.strerror or "").lower()
            raise UsageError(f"cannot read {key}: {why}", option=_option(self._agent)) from None
        added = subprocess.run(
            [adder, "-q", "-"], input=data, capture_output=True, cwd=self._place, env=self._environ, timeout=_START_S
        )
        if added.returncode:
            raise UsageError(
                f"{key} cannot be used as a private key",
                code="ssh-key",
                option=_option(self._agent),
                hints=(Hint.of("ssh-passphrase"),),
            )

    def close(self) -> None:
        """End the agent."""
        if self._shell is not None:
            if self._pid:
                try:
                    os.kill(self._pid, 15)
                except ProcessLookupError:
                    self._pid = 0
            self._shell.communicate()
        remove_tree(self._place)


@contextmanager
def forward(agent: str, mount: SshMount, place: str, pool: Pool) -> Iterator[str]:
    """Yield a socket in the new directory `place` that passes on to an agent, with the mount's owner and mode.

    It is served by one task of `pool` until the block ends. Raises HostError.
    """
    os.mkdir(place, 0o711)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stop = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        _at(f"{place}/{_NAME}", listener.bind)
        _give(f"{place}/{_NAME}", mount)
        listener.listen(16)
        listener.setblocking(False)
        task = pool.submit(_Forwarder(agent, listener, stop).serve)
        try:
            yield f"{place}/{_NAME}"
        finally:
            os.eventfd_write(stop, 1)
            task.result()
    finally:
        listener.close()
        os.close(stop)
        remove_tree(place)


def _give(path: str, mount: SshMount) -> None:
    os.chmod(path, mount.mode)
    if (mount.uid, mount.gid) == (0, 0):
        return
    try:
        os.chown(path, mount.uid, mount.gid)
    except OSError as error:
        raise HostError(
            f"cannot give the ssh socket to {mount.uid}:{mount.gid}: {(error.strerror or '').lower()}",
            code="ssh-owner",
            hints=(Hint.of("host-ids"),),
        ) from error


def _at(path: str, call: object) -> None:
    """Call bind or connect with a path that may be longer than the 107 bytes a socket's address holds."""
    directory, _, name = path.rpartition("/")
    assert callable(call)
    if len(os.fsencode(path)) < 108:
        call(path)
        return
    descriptor = os.open(directory or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


class _Forwarder:
    """Serves all connections of one mount; each has a connection of its own to the agent.

    The protocol has one answer to each question, so nothing is read from a client before the agent has
    answered, and the two ends cannot block each other.
    """

    def __init__(self, agent: str, listener: socket.socket, stop: int) -> None:
        self._agent = agent
        self._listener = listener
        self._stop = stop
        self._waiting: dict[int, _Client] = {}

    def serve(self) -> None:
        """Pass messages on until `stop` is readable."""
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        try:
            while True:
                for number, _ in poll.poll():
                    if number == self._stop:
                        return
                    if number == self._listener.fileno():
                        client = self._accept()
                        if client is not None:
                            self._waiting[client.number] = client
                            poll.register(client.number, select.POLLIN)
                    elif not self._waiting[number].take(self._agent):
                        poll.unregister(number)
                        self._waiting.pop(number).close()
        finally:
            for client in self._waiting.values():
                client.close()

    def _accept(self) -> _Client | None:
        try:
            return _Client(self._listener.accept()[0])
        except OSError:
            return None  # the client has gone already


class _Client:
    """One connection from a command."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_START_S)
        self._connection = connection
        self._agent: socket.socket | None = None
        self._pending = b""
        self.number = connection.fileno()

    def take(self, agent: str) -> bool:
        """Read what is there and answer whole questions; False when the connection has ended."""
        try:
            data = self._connection.recv(_PIECE)
            self._pending += data
            while data and len(self._pending) >= 4:
                length = int.from_bytes(self._pending[:4], "big")
                if not 0 < length <= _MAX_MESSAGE:
                    return False
                if len(self._pending) < 4 + length:
                    break
                question, self._pending = self._pending[: 4 + length], self._pending[4 + length :]
                self._connection.sendall(self._ask(agent, question) if _is_harmless(question[4:]) else _REFUSED)
        except OSError:
            return False
        return bool(data)

    def _ask(self, agent: str, question: bytes) -> bytes:
        if self._agent is None:
            self._agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._agent.settimeout(_CONFIRM_S)
            _at(agent, self._agent.connect)
        self._agent.sendall(question)
        head = _read(self._agent, 4)
        length = int.from_bytes(head, "big")
        if length > _MAX_MESSAGE:
            raise OSError("the agent's answer is too long")
        return head + _read(self._agent, length)

    def close(self) -> None:
        self._connection.close()
        if self._agent is not None:
            self._agent.close()


def _is_harmless(message: bytes) -> bool:
    """Say whether a message only asks for keys and signatures."""
    if message[0] == _EXTENSION:
        return message[1:5] == len(_BIND).to_bytes(4, "big") and message[5 : 5 + len(_BIND)] == _BIND
    return message[0] in (_REQUEST_IDENTITIES, _SIGN_REQUEST)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise OSError("the agent has closed the connection")
        data += piece
    return data

"""A scope of systemd for a monitor: a group that belongs to the user who asks for it. Does I/O.

One call of D-Bus over the manager's own socket, which needs neither a bus nor a library. Spec: the D-Bus specification
(message protocol, SASL EXTERNAL); org.freedesktop.systemd1(5), StartTransientUnit and JobRemoved.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import msgspec

from firkin.errors import HostError

_CALL, _ANSWER, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_PATIENCE_S = 30
_MOST = 1 << 20  # bytes of one message
_MANAGER = "org.freedesktop.systemd1"


class ScopeRequest(msgspec.Struct, frozen=True):
    """What the manager at `socket` is asked for."""

    socket: str
    unit: str
    slice: str
    description: str


def enter_scope(request: ScopeRequest, pid: int) -> None:
    """Have a scope made with a process in it, and return when it is there. Raises HostError."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.connect(request.socket)
            stream = _Stream(connection)
            stream.authenticate(os.geteuid())
            connection.sendall(start_call(request, pid))
            _await_job(stream)
    except (OSError, ValueError, struct.error, IndexError) as error:
        raise HostError(f"systemd did not make the scope {request.unit}: {error}", code="scope") from error


def start_call(request: ScopeRequest, pid: int) -> bytes:
    """Return the message StartTransientUnit for a scope that is handed over to its user."""
    body = Writer()
    body.text(request.unit)
    body.text("fail")
    with body.array(8):
        for name, kind, value in (
            ("Description", "s", request.description),
            ("Slice", "s", request.slice),
            ("PIDs", "au", pid),
            ("Delegate", "b", 1),
            ("CollectMode", "s", "inactive-or-failed"),  # a scope that was killed for memory does not stay
        ):
            body.align(8)
            body.text(name)
            body.signature(kind)
            if kind == "s":
                body.text(str(value))
            elif kind == "b":
                body.number(int(value))
            else:
                with body.array(4):
                    body.number(int(value))
    with body.array(8):
        pass  # auxiliary units
    head = Writer()
    head.data += struct.pack("<BBBBII", ord("l"), _CALL, 0, 1, len(body.data), 1)
    with head.array(8):
        for code, kind, text in (
            (_PATH, "o", "/org/freedesktop/systemd1"),
            (_INTERFACE, "s", f"{_MANAGER}.Manager"),
            (_MEMBER, "s", "StartTransientUnit"),
            (_DESTINATION, "s", _MANAGER),
            (_SIGNATURE, "g", "ssa(sv)a(sa(sv))"),
        ):
            head.align(8)
            head.data.append(code)
            head.signature(kind)
            if kind == "g":
                head.signature(text)
            else:
                head.text(text)
    head.align(8)
    return bytes(head.data + body.data)


class Writer:
    """Values in the wire format, little-endian; every number lies at a multiple of its size."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        """Add zero bytes up to a multiple of `size`."""
        self.data += bytes(-len(self.data) % size)

    def number(self, value: int) -> None:
        """Add an unsigned number of 32 bits (also a boolean)."""
        self.align(4)
        self.data += struct.pack("<I", value)

    def text(self, value: str) -> None:
        """Add a string or object path."""
        data = value.encode()
        self.number(len(data))
        self.data += data + b"\0"

    def signature(self, value: str) -> None:
        """Add a signature, at any place."""
        data = value.encode()
        self.data += bytes((len(data),)) + data + b"\0"

    def array(self, size: int) -> _Array:
        """Return a context in which the elements are added; `size` is what an element is aligned to."""
        return _Array(self, size)


class _Array:
    """Knows its length at its end. The padding before the first element does not count."""

    def __init__(self, writer: Writer, size: int) -> None:
        self.writer, self.size = writer, size

    def __enter__(self) -> None:
        self.writer.number(0)
        self.place = len(self.writer.data) - 4
        self.writer.align(self.size)
        self.start = len(self.writer.data)

    def __exit__(self, *_: object) -> None:
        struct.pack_into("<I", self.writer.data, self.place, len(self.writer.data) - self.start)


class Message(msgspec.Struct, frozen=True):
    """A message: its kind, what the header says that we ask for, and the body's bytes."""

    kind: int
    member: str
    error: str
    order: str
    body: bytes


class _Stream:
    """Reads messages."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.data = connection, b""

    def authenticate(self, uid: int) -> None:
        """Say who we are; the kernel confirms it. Raises ValueError."""
        self.connection.sendall(b"\0AUTH EXTERNAL " + str(uid).encode().hex().encode() + b"\r\n")
        while b"\r\n" not in self.data:
            self._more()
        line, _, self.data = self.data.partition(b"\r\n")
        if not line.startswith(b"OK"):
            raise ValueError(f"it answered {line[:80]!r}")
        self.connection.sendall(b"BEGIN\r\n")

    def message(self) -> Message:
        """Return the next message. Raises ValueError, struct.error."""
        while len(self.data) < 16:
            self._more()
        order = "<" if self.data[0:1] == b"l" else ">"
        kind = self.data[1]
        length, _, fields = struct.unpack_from(f"{order}III", self.data, 4)
        end = 16 + fields + -fields % 8 + length
        if length > _MOST or fields > _MOST:
            raise ValueError("a message that is too long")
        while len(self.data) < end:
            self._more()
        found = read_fields(self.data[: 16 + fields], order)
        body = self.data[end - length : end]
        self.data = self.data[end:]
        return Message(kind, found.get(_MEMBER, ""), found.get(_ERROR_NAME, ""), order, body)

    def _more(self) -> None:
        data = self.connection.recv(1 << 16)
        if not data:
            raise ValueError("it closed the connection")
        self.data += data


def read_fields(header: bytes, order: str) -> dict[int, str]:
    """Return the fields of a header that are texts. Raises ValueError, struct.error, IndexError."""
    found: dict[int, str] = {}
    at = 16
    while at < len(header):
        at += -at % 8
        code, size = header[at], header[at + 1]
        kind = header[at + 2 : at + 2 + size].decode()
        at += 3 + size
        if kind == "g":
            at += 2 + header[at]
        elif kind in ("s", "o"):
            found[code], at = read_text(header, at, order)
        else:
            at += -at % 4 + 4  # a number of 32 bits; headers have no other kind
    return found


def read_text(data: bytes, at: int, order: str) -> tuple[str, int]:
    """Return a text at a place, and where it ends. Raises struct.error, UnicodeDecodeError."""
    at += -at % 4
    (size,) = struct.unpack_from(f"{order}I", data, at)
    return data[at + 4 : at + 4 + size].decode(), at + 4 + size + 1


def _await_job(stream: _Stream) -> None:
    """Wait until the job of our call is done. Raises ValueError with what systemd said."""
    job, done = "", {}
    while True:
        message = stream.message()
        if message.kind == _ERROR:
            text = read_text(message.body, 0, message.order)[0] if message.body else message.error
            raise ValueError(text)
        if message.kind == _ANSWER and not job:
            job, _ = read_text(message.body, 0, message.order)
        elif message.kind == _SIGNAL and message.member == "JobRemoved":
            path, at = read_text(message.body, 4, message.order)
            _, at = read_text(message.body, at, message.order)
            done[path] = read_text(message.body, at, message.order)[0]
        if job in done:
            if done[job] != "done":
                raise ValueError(f"its job ended as `{done[job]}`")
            return

"""A scope is asked for over D-Bus; a small systemd answers."""

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from firkin.containers.limits.scope import ScopeRequest, Writer, enter_scope, read_fields, read_text, start_call
from firkin.errors import HostError

JOB = "/org/freedesktop/systemd1/job/7"


def message(kind: int, fields: tuple[tuple[int, str, str], ...], body: bytes) -> bytes:
    head = Writer()
    head.data += struct.pack("<BBBBII", ord("l"), kind, 0, 1, len(body), 9)
    with head.array(8):
        for code, signature, text in fields:
            head.align(8)
            head.data.append(code)
            head.signature(signature)
            if signature == "g":
                head.signature(text)
            else:
                head.text(text)
    head.align(8)
    return bytes(head.data) + body


def text(value: str) -> bytes:
    writer = Writer()
    writer.text(value)
    return bytes(writer.data)


def removed(job: str, result: str) -> bytes:
    body = Writer()
    body.number(7)
    for value in (job, "firkin-1.scope", result):
        body.text(value)
    return message(4, ((3, "s", "JobRemoved"), (8, "g", "uoss")), bytes(body.data))


ANSWER = message(2, ((8, "g", "o"),), text(JOB))
DONE = removed(JOB, "done")
OTHER = removed("/org/freedesktop/systemd1/job/6", "failed")
NOISE = message(4, ((3, "s", "UnitNew"), (8, "g", "s")), text("x"))


@pytest.fixture
def systemd(tmp_path: Path):
    """Return a function that starts a manager with these answers, and gives the request and what it was sent."""
    threads = []

    def start(*answers: bytes, hello: bytes = b"OK 0123\r\n") -> tuple[ScopeRequest, list[bytes]]:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "private"))
        listener.listen()
        got: list[bytes] = []

        def serve() -> None:
            with listener, listener.accept()[0] as connection:
                got.append(connection.recv(4096))
                connection.sendall(hello)
                got.append(connection.recv(4096))
                for answer in answers:
                    for place in range(0, len(answer), 7):  # messages come in pieces
                        connection.sendall(answer[place : place + 7])
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        threads.append(thread)
        return ScopeRequest(str(tmp_path / "private"), "firkin-1.scope", "firkin.slice", "a container"), got

    yield start
    for thread in threads:
        thread.join(5)


Manager = Callable[..., tuple[ScopeRequest, list[bytes]]]


@pytest.mark.parametrize("answers", [(ANSWER, DONE), (NOISE, ANSWER, OTHER, DONE), (DONE, ANSWER)])
def test_it_returns_when_the_job_is_done(systemd: Manager, answers: tuple[bytes, ...]) -> None:
    request, got = systemd(*answers)
    enter_scope(request, 4242)
    assert got[0].startswith(b"\0AUTH EXTERNAL ")


@pytest.mark.parametrize(("answers", "words"), [
    ((ANSWER, removed(JOB, "failed")), "its job ended as `failed`"),
    ((message(3, ((4, "s", "org.freedesktop.DBus.Error.AccessDenied"),), text("No.")),), "No."),
    ((ANSWER,), "it closed the connection"),
    ((b"l" + bytes(3) + struct.pack("<III", 1 << 30, 1, 1 << 30),), "too long"),
])  # fmt: skip
def test_what_goes_wrong_is_told(systemd: Manager, answers: tuple[bytes, ...], words: str) -> None:
    request, _ = systemd(*answers)
    with pytest.raises(HostError, match=f"systemd did not make the scope firkin-1.scope: .*{words}"):
        enter_scope(request, 1)


def test_a_manager_that_lets_nobody_in(systemd: Manager) -> None:
    request, _ = systemd(hello=b"REJECTED EXTERNAL\r\n")
    with pytest.raises(HostError, match="REJECTED"):
        enter_scope(request, 1)


def test_no_manager(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="did not make the scope"):
        enter_scope(ScopeRequest(str(tmp_path / "absent"), "a.scope", "b.slice", ""), 1)


def test_the_call() -> None:
    call = start_call(ScopeRequest("/s", "firkin-1.scope", "firkin.slice", "d"), 4242)
    length, _, fields = struct.unpack_from("<III", call, 4)
    assert len(call) == 16 + fields + -fields % 8 + length
    header = read_fields(call[: 16 + fields], "<")
    assert (header[3], header[1]) == ("StartTransientUnit", "/org/freedesktop/systemd1")
    body = call[len(call) - length :]
    unit, at = read_text(body, 0, "<")
    mode, at = read_text(body, at, "<")
    assert (unit, mode) == ("firkin-1.scope", "fail")
    (size,) = struct.unpack_from("<I", body, at + -at % 4)
    properties = body[at + -at % 4 + 4 :]
    assert struct.pack("<I", 4242) in properties and b"Delegate\0\1b\0" in properties
    assert len(properties) >= size

"""Commands by chroot: whose turn it is where nothing keeps them apart."""

import os
import threading

from firkin.sandbox.chroot import _wait_for_turn


def test_one_at_a_time() -> None:
    first = _wait_for_turn(None)
    assert first is not None
    got: list[int | None] = []
    other = threading.Thread(target=lambda: got.append(_wait_for_turn(None)))
    other.start()
    other.join(0.2)
    assert got == []
    os.close(first)
    other.join(10)
    assert got[0] is not None
    os.close(got[0])


def test_a_build_that_ends_does_not_wait() -> None:
    first = _wait_for_turn(None)
    assert first is not None
    reader, writer = os.pipe()
    os.write(writer, b"x")
    assert _wait_for_turn(reader) is None
    for fd in (first, reader, writer):
        os.close(fd)

"""A front beside a command, with a command that is a test."""

import os
import signal
from collections.abc import Iterator
from socket import socketpair

import pytest

from firkin.cli.containers.session import Detached, Manner, Signals, follow, write_all
from firkin.containers.link.attach import Attached, Exit
from firkin.containers.link.connection import Link
from firkin.containers.monitor.wire import ANSWER, NOTICE, STDOUT, frame


class FakeAttached:
    """Gives what it is told to, and keeps what it gets."""

    def __init__(self, *frames: tuple[int, bytes], tty: bool = False, ends: bool = True) -> None:
        self.tty, self.unsent, self.ended, self.exit, self.waiting = tty, 0, False, None, False
        self._own, self._other = socketpair()
        self._frames = list(frames)
        self._ends = ends
        self.got, self.closed, self.sizes, self.signals, self.left = b"", 0, [], [], False
        if frames or ends:
            self._other.send(b".")

    def fileno(self) -> int:
        return self._own.fileno()

    def receive(self) -> list[tuple[int, bytes]]:
        frames, self._frames = self._frames, []
        if not frames and self._ends:
            self.finish(3)
        return frames

    def finish(self, status: int) -> None:
        self.ended, self.exit = True, Exit(status)

    def write_stdin(self, data: bytes) -> None:
        self.got += data

    def close_stdin(self) -> None:
        self.closed += 1
        self._ends = True
        self._other.send(b".")

    def flush(self) -> None: ...

    def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    def signal(self, number: int) -> None:
        self.signals.append(number)
        self.finish(0)

    def detach(self) -> None:
        self.left = True


@pytest.fixture
def stdin() -> Iterator[int]:
    """A pipe in place of standard input; yields its other end."""
    kept = os.dup(0)
    read_end, write_end = os.pipe()
    os.dup2(read_end, 0)
    os.close(read_end)
    yield write_end
    os.dup2(kept, 0)
    os.close(kept)
    for descriptor in (write_end,):
        try:
            os.close(descriptor)
        except OSError:
            pass


def run(attached: FakeAttached, **manner: object) -> Exit | None:
    with Signals(proxy=bool(manner.get("proxy")), tty=attached.tty) as signals:
        return follow(attached, Manner(**manner), signals)  # type: ignore[arg-type]


def test_output_goes_where_it_belongs(capfd):
    assert run(FakeAttached((1, b"a"), (1, b"b"), (2, b"err"), (1, b"c"))) == Exit(3)
    assert capfd.readouterr() == ("abc", "err")


def test_input_goes_in_and_ends(stdin):
    os.write(stdin, b"typed")
    os.close(stdin)
    attached = FakeAttached(ends=False)
    assert run(attached, stdin=True) == Exit(3)
    assert (attached.got, attached.closed) == (b"typed", 1)


def test_without_output_it_ends_with_the_input(stdin):
    os.write(stdin, b"typed")
    os.close(stdin)
    attached = FakeAttached(ends=False)
    assert run(attached, stdin=True, output=False) is None
    assert attached.got == b"typed"


def test_keys_detach_on_a_terminal_only(stdin):
    os.write(stdin, b"ls\x10\x11")
    attached = FakeAttached(ends=False, tty=True)
    with pytest.raises(Detached):
        run(attached, stdin=True, keys=b"\x10\x11")
    assert (attached.got, attached.left) == (b"ls", True)
    os.write(stdin, b"ls\x10\x11")
    os.close(stdin)
    attached = FakeAttached(ends=False)
    run(attached, stdin=True, keys=b"\x10\x11")
    assert (attached.got, attached.left) == (b"ls\x10\x11", False)


def test_signals_of_before_are_passed_on():
    """One that comes between the start of the command and the first look is not lost."""
    attached = FakeAttached(ends=False)
    with Signals(proxy=True, tty=False) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert follow(attached, Manner(proxy=True), signals) == Exit(0)  # type: ignore[arg-type]
    assert attached.signals == [signal.SIGUSR1]


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGWINCH)
    with Signals(proxy=True, tty=True):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGWINCH)) == before


def test_nobody_reads():
    read_end, write_end = os.pipe()
    os.close(read_end)
    with pytest.raises(BrokenPipeError):
        write_all(write_end, b"x")
    os.close(write_end)


def test_a_descriptor_that_somebody_made_nonblocking():
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        while os.read(read_end, 1 << 16):
            pass
        os._exit(0)
    os.close(read_end)
    write_all(write_end, b"x" * (1 << 20))
    os.close(write_end)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.timeout(20)
def test_output_that_came_with_the_answer_is_shown_before_anything_else_comes(capfd):
    """The answer to a start and the first line may come in one piece, and then nothing for ever."""
    own, other = socketpair()
    other.send(frame(ANSWER, b'{"ok": true, "pid": 1}') + frame(STDOUT, b"ready\n"))
    link = Link(own)  # type: ignore[arg-type]
    assert link.ask("start")["pid"] == 1
    shown = b""

    class Ending(Attached):
        def receive(self):
            nonlocal shown
            found = super().receive()
            shown += b"".join(data for _, data in found)
            if found:  # the command is silent from now on, and ends when somebody has seen its line
                other.send(frame(NOTICE, b'{"notice": "exit", "status": 7, "error": ""}'))
            return found

    assert run(Ending(link, tty=False)) == Exit(7)  # type: ignore[arg-type]
    assert (shown, capfd.readouterr().out) == (b"ready\n", "ready\n")
    other.close()
    link.close()

"""One worker that is watched: its events and its last line, and every way in which it can end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes import is_running
from support.small_engine import WORKER

from firkin.builder.request import BuildRequest, encode_request
from firkin.errors import HostError
from firkin.events import Event, Log, Started
from firkin.worker import client
from firkin.worker.client import Ending, Worker, spawn_worker
from firkin.worker.messages import Failure, Success


class Recorder:
    """A watcher that keeps events, and does something when it is called to look."""

    def __init__(self, do: Callable[[Worker], object] = lambda worker: None, every_s: float | None = None) -> None:
        self.descriptor = -1
        self.events: list[Event] = []
        self.looks = 0
        self._do, self._every_s = do, every_s

    def event(self, event: Event) -> None:
        self.events.append(event)

    def wait_s(self) -> float | None:
        return self._every_s

    def look(self, worker: Worker) -> None:
        self.looks += 1
        self._do(worker)


@pytest.fixture(autouse=True)
def small_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "COMMAND", ["-c", WORKER])


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], Worker]:
    return lambda context: spawn_worker(encode_request(BuildRequest(context=context, store_root=str(tmp_path))))


def program(text: str, *, leads_group: bool = False) -> Worker:
    """Start a program in place of a worker; what it writes are the events."""
    read_end, write_end = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write_end, 1)]
    arguments = [sys.executable, "-c", f"import os, signal, subprocess, sys, time\n{text}"]
    pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
    os.close(write_end)
    return Worker(pid, read_end, leads_group=leads_group)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_events_come_in_their_order_and_the_last_line_ends_the_watch(start: Callable[[str], Worker]) -> None:
    recorder = Recorder()
    ending = start("done").watch(recorder)
    assert recorder.events == [Started(1.0, "a")]
    assert isinstance(ending.last, Success) and ending.status == 0


def test_a_failure_is_a_last_line_as_well(start: Callable[[str], Worker]) -> None:
    ending = start("failed").watch(Recorder())
    assert isinstance(ending.last, Failure) and ending.last.kind == "StepFailed" and ending.status == 7


def test_a_worker_that_dies_leaves_no_last_line_but_a_status() -> None:
    open_before = descriptors()
    recorder = Recorder()
    line = '{"event":"started","time":1.0,"id":"a"}'
    ending = program(f"os.write(1, b'{line}\\n'); os.kill(os.getpid(), signal.SIGKILL)").watch(recorder)
    assert ending == Ending(None, -signal.SIGKILL) and recorder.events == [Started(1.0, "a")]
    assert program("os._exit(3)").watch(Recorder()) == Ending(None, 3)
    assert program("os.write(1, b'{\"event\":')").watch(Recorder()) == Ending(None, 0)  # half a line is none
    assert descriptors() == open_before


def test_lines_may_arrive_in_pieces(start: Callable[[str], Worker]) -> None:
    text = '{"event":"log","time":1.0,"id":"a","stream":"stdout","data":"aGVsbG8="}\\n' * 2
    recorder = Recorder()
    program(f"for byte in b'{text}': os.write(1, bytes([byte])); time.sleep(0.001)").watch(recorder)
    assert recorder.events == [Log(1.0, "a", "stdout", b"hello")] * 2


def test_a_worker_is_asked_to_stop_and_says_so(start: Callable[[str], Worker]) -> None:
    recorder: Recorder

    def stop(worker: Worker) -> None:
        if recorder.events:  # it hears signals by now
            worker.kill_after(30)
            worker.send(signal.SIGTERM)

    recorder = Recorder(stop)
    ending = start("wait").watch(recorder)
    assert isinstance(ending.last, Failure) and ending.last.kind == "Cancelled" and ending.status == 128 + signal.SIGTERM


def test_the_watcher_is_called_again_and_again_if_it_wants_to_be() -> None:
    recorder = Recorder(every_s=0.02)
    program("time.sleep(0.5)").watch(recorder)
    assert recorder.looks > 5
    seldom = Recorder()
    program("time.sleep(0.3)").watch(seldom)
    assert seldom.looks <= 1


def test_a_worker_that_hears_nothing_is_killed_when_its_time_is_over() -> None:
    recorder: Recorder
    once: list[float] = []

    def stop(worker: Worker) -> None:
        if recorder.events and not once:
            once.append(time.monotonic())
            worker.send(signal.SIGTERM)
            worker.kill_after(0.2)

    recorder = Recorder(stop)
    line = '{"event":"started","time":1.0,"id":"a"}'
    deaf = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'{line}\\n'); time.sleep(60)"
    assert program(deaf).watch(recorder) == Ending(None, -signal.SIGKILL)
    assert 0.2 <= time.monotonic() - once[0] < 20


def test_what_the_watcher_raises_ends_the_worker(start: Callable[[str], Worker]) -> None:
    open_before, pids = descriptors(), []

    def refuse(worker: Worker) -> None:
        pids.append(worker._pid)
        raise LookupError("not this one")

    with pytest.raises(LookupError, match="not this one"):
        start("wait").watch(Recorder(refuse, every_s=0.05))
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)  # somebody has waited for it
    assert descriptors() == open_before


def test_a_line_that_is_none_ends_the_worker_too() -> None:
    worker = program("os.write(1, b'hello\\n'); time.sleep(60)")
    with pytest.raises(ValueError):
        worker.watch(Recorder())


def test_a_descriptor_wakes_the_watcher() -> None:
    read_end, write_end = os.pipe()

    def stop(worker: Worker) -> None:
        if os.read(read_end, 1):
            worker.kill()

    recorder = Recorder(stop)
    recorder.descriptor = read_end
    os.write(write_end, b"x")
    assert program("time.sleep(60)").watch(recorder) == Ending(None, -signal.SIGKILL)
    assert recorder.looks == 1
    os.close(read_end)
    os.close(write_end)


def test_programs_of_a_stopped_worker_end_with_its_group() -> None:
    helper = "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL)"
    log = '{"event":"started","time":1.0,"id":"%d"}\\n'
    told = Recorder(lambda worker: worker.kill_after(30) if told.events else None)
    ending = program(f"os.setsid(); {helper}; os.write(1, b'{log}' % child.pid)", leads_group=True).watch(told)
    assert ending == Ending(None, 0)
    (started,) = told.events
    assert isinstance(started, Started)
    deadline = time.monotonic() + 10
    while is_running(int(started.id)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_that_has_ended_is_not_signalled_again() -> None:
    worker = program("pass")
    worker.watch(Recorder())
    worker.send(signal.SIGTERM)  # nobody is there
    worker.kill()


def test_a_program_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    open_before = descriptors()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(HostError, match="cannot start the worker /nowhere/python: no such file"):
        spawn_worker(b"{}")
    assert descriptors() == open_before


def test_a_forked_worker_undoes_what_its_parent_set_up(tmp_path: Path) -> None:
    code = """
import os, signal, sys
import firkin.worker.server
from firkin.builder.request import BuildRequest, BuildResult, ImageResult
from firkin.worker.client import fork_worker

def build(request, emit, cancel, backend):
    image = ImageResult(str(os.getsid(0) == os.getpid()), str(undone), "m", (), "p", 1)
    return BuildResult(image, (image,), (), (), 0.5)

class Watcher:
    descriptor = -1
    def event(self, event): pass
    def wait_s(self): return None
    def look(self, worker): pass

undone, parent = [], os.getpid()
firkin.worker.server.load_engine = lambda: build
worker = fork_worker(BuildRequest(context=".", store_root=sys.argv[1]), lambda: undone.append(os.getpid() != parent))
ending = worker.watch(Watcher())
print(ending.last.result.image.digest, ending.last.result.image.config_digest, undone, ending.status)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True [True] [] 0\n", done.stderr


def test_a_fork_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    code = """
import os, sys
from firkin.builder.request import BuildRequest
from firkin.errors import UsageError
from firkin.worker.client import fork_worker

before = os.listdir("/proc/self/fd")
try:
    fork_worker(BuildRequest(context="a\\0b", store_root=sys.argv[1]), lambda: None)
except UsageError:
    print(len(os.listdir("/proc/self/fd")) - len(before))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", done.stderr

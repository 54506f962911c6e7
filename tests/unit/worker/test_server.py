"""The worker: a request in, events and one last line out."""

import os
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest
from support.processes import is_running
from support.small_engine import WORKER

from firkin import errors
from firkin.builder.request import BuildRequest, encode_request
from firkin.events import Started
from firkin.hints import Hint
from firkin.worker.messages import Success, decode_line, error_of
from firkin.worker.server import EventStream

REQUEST = BuildRequest(context=".", store_root="")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "REQUEST", msgspec.structs.replace(REQUEST, store_root=str(tmp_path)))


def worker() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)  # fmt: skip


def run_worker(context: str) -> tuple[int, list, bytes]:
    process = worker()
    request = msgspec.structs.replace(REQUEST, context=context, tags=("app:1",))
    out, told = process.communicate(encode_request(request), timeout=30)
    return process.returncode, [decode_line(line) for line in out.splitlines()], told


def test_a_result_is_the_last_line():
    code, lines, told = run_worker("done")
    assert code == 0 and lines[0] == Started(1.0, "a")
    assert isinstance(lines[1], Success) and lines[1].result.image.names == ("app:1",)
    assert b"to nobody" in told  # prints never get between the lines


def test_an_error_is_the_last_line_and_the_exit_code():
    code, lines, _ = run_worker("failed")
    error = error_of(lines[-1])
    assert code == 7 and type(error) is errors.StepFailed and error.exit_code == 7


def test_a_fault_of_our_own_asks_for_a_report():
    code, lines, _ = run_worker("bug")
    error = error_of(lines[-1])
    assert code == 70 and isinstance(error, errors.InternalError)
    assert error.message == "internal error: KeyError: 'x'" and error.hints == (Hint.of("bug"),)
    assert "Traceback" in error.traceback and "in build" in error.traceback


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_cancel(number):
    process = worker()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(encode_request(msgspec.structs.replace(REQUEST, context="wait")))
    process.stdin.close()
    process.stdin = None
    process.stdout.readline()
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    error = error_of(decode_line(out.splitlines()[-1]))
    assert type(error) is errors.Cancelled and process.returncode == error.exit_code == 128 + number


def test_an_invalid_request_is_refused():
    result = subprocess.run([sys.executable, "-c", WORKER], input=b'{"context": 1}', capture_output=True, timeout=30)
    error = error_of(decode_line(result.stdout))
    assert result.returncode == 2 and isinstance(error, errors.UsageError)


def test_lines_of_many_threads_stay_whole():
    from firkin.tasks.cancel import Cancel

    read_end, write_end = os.pipe()
    stream = EventStream(write_end, Cancel())
    threads = [threading.Thread(target=lambda i=i: [stream.emit(Started(1.0, str(i) * 9000)) for _ in range(50)])
               for i in range(4)]  # fmt: skip
    for thread in threads:
        thread.start()
    data = b""
    while data.count(b"\n") < 200:
        data += os.read(read_end, 1 << 16)
    for thread in threads:
        thread.join()
    assert all(isinstance(decode_line(line), Started) for line in data.splitlines())


def test_nobody_reading_stops_the_build():
    from firkin.tasks.cancel import Cancel

    read_end, write_end = os.pipe()
    os.close(read_end)
    cancel = Cancel()
    EventStream(write_end, cancel).emit(Started(1.0, "a"))
    assert cancel() and cancel.signal == signal.SIGPIPE
    os.close(write_end)


@pytest.mark.parametrize("call", ["build", "check"])
def test_layers_are_unpacked_by_a_process_of_their_own(call):
    """The worker forks it before the build begins, when there is one thread, and it ends with the worker."""
    program = """
import os, sys
from firkin.layer import confined
from firkin.builder.request import BuildRequest
from firkin.worker.start import start_worker

def build(request, emit, cancel, backend):
    server = confined._current
    os.write(said, f"{0 if server is None else server.pid} {threads}".encode())
    raise SystemExit

def fork():
    global threads
    threads = len(os.listdir("/proc/self/task"))
    return really()

really, os.fork, threads = os.fork, fork, 1
reading, said = os.pipe()
pid = start_worker(BuildRequest(context=".", store_root=sys.argv[1], call=sys.argv[2]), 1, build=build)
os.waitpid(pid, 0)
os.close(said)
print(os.read(reading, 100).decode())
"""
    done = subprocess.run([sys.executable, "-c", program, REQUEST.store_root, call], capture_output=True, text=True,
                          timeout=60)  # fmt: skip
    server, threads = map(int, done.stdout.splitlines()[-1].split())
    assert threads == 1 and (server != 0) == (call == "build"), done.stderr
    deadline = time.monotonic() + 10
    while server and is_running(server):
        assert time.monotonic() < deadline, "it outlived its worker"
        time.sleep(0.02)

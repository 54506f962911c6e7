"""The worker: a request in, events and one last line out; errors arrive as what they were."""

import errno
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
from firkin.builder.request import (
    BuildRequest,
    BuildResult,
    ImageResult,
    Output,
    RunOptions,
    Secret,
    check_request,
    encode_request,
)
from firkin.events import Log, Planned, Started, Vertex
from firkin.oci.run import Ulimit
from firkin.registry.settings import RegistrySettings
from firkin.source import Source
from firkin.worker import EventStream, Failure, Success, decode_line, encode_line, error_of, failure_of

IMAGE = ImageResult("sha256:" + "a" * 64, "sha256:" + "b" * 64, "m", (), "linux/amd64", 1)
RESULT = BuildResult(IMAGE, (IMAGE,), (), (), 0.5)
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
    assert error.message == "internal error: KeyError: 'x'" and "report it" in error.hints[0]
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


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FirkinError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_crosses_the_pipe(kind):
    sent = kind("what failed", hints=("do this",))
    if kind is not errors.InternalError:
        sent.span = Source("Dockerfile", "a\nb\n").span(2)
    sent.__cause__ = errors.FirkinError("because")
    sent.__cause__.__cause__ = OSError(errno.EACCES, "permission denied")
    line = decode_line(encode_line(failure_of(sent)))
    assert isinstance(line, Failure)
    got = error_of(line)
    assert type(got) is kind and str(got) == str(sent)
    assert (got.code, got.exit_code, got.hints, got.span) == (sent.code, sent.exit_code, sent.hints, sent.span)
    assert str(got.__cause__) == "because" and "permission denied" in str(got.__cause__.__cause__)


@pytest.mark.parametrize("raw", [b"caf\xe9", b"\xff\xfeF\0R\0", b"\xed\xb0\x80"])
def test_lines_carry_what_is_not_utf8_as_replacement_characters(raw):
    text = raw.decode("utf-8", "surrogateescape")
    shown = raw.decode("utf-8", "replace") if raw != b"\xed\xb0\x80" else "\ufffd" * 3
    source = Source(text, text)
    vertex = Vertex(text, text, span=source.span(1))
    planned = decode_line(encode_line(Planned(1.0, (vertex,), source)))
    assert isinstance(planned, Planned) and planned.source == Source(shown, shown)
    assert planned.vertices == (Vertex(shown, shown, span=Source(shown, shown).span(1)),)
    assert decode_line(encode_line(Log(1.0, text, "stdout", raw))).data == raw  # output stays exact
    failed = errors.DockerfileError(text, hints=(text,), span=source.span(1))
    got = error_of(decode_line(encode_line(failure_of(failed))))
    assert (type(got), got.message, got.hints) == (errors.DockerfileError, shown, (shown,))
    result = msgspec.structs.replace(RESULT, outputs=(text,), metadata=msgspec.Raw(b'{"a":1}'))
    done = decode_line(encode_line(Success(result)))
    assert done.result.outputs == (shown,) and bytes(done.result.metadata) == b'{"a":1}'


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"build_args": (("A", "caf\udce9"),)}, "request-not-utf-8"),
        ({"labels": (("\udce9", ""),)}, "request-not-utf-8"),
        ({"target": "\udce9"}, "request-not-utf-8"),
        ({"outputs": (Output(names=("\udce9",)),)}, "request-not-utf-8"),
        ({"secrets": (Secret("\udce9", b""),)}, "request-not-utf-8"),
        ({"run": RunOptions(add_hosts=(("\udce9", "::1"),))}, "request-not-utf-8"),
        ({"context": "/a\0b"}, "request-nul"),
        ({"build_args": (("A", "\0"),)}, "request-nul"),
    ],
)
def test_a_request_that_no_encoder_takes_is_refused(changes, code):
    with pytest.raises(errors.UsageError) as caught:
        check_request(msgspec.structs.replace(REQUEST, **changes))
    assert caught.value.code == code and caught.value.exit_code == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"source_date_epoch": 10**30},
        {"source_date_epoch": 253402300800},
        {"max_parallel_steps": -1},
        {"run": RunOptions(shm_size_bytes=-1)},
        {"run": RunOptions(ulimits=(Ulimit("nofile", 1, 10**30),))},
        {"registry": RegistrySettings(timeout_s=-1)},
        {"registry": RegistrySettings(timeout_s=float("nan"))},
        {"registry": RegistrySettings(parallel=0)},
    ],
)
def test_numbers_out_of_their_range_are_refused(changes):
    with pytest.raises(errors.UsageError) as caught:
        check_request(msgspec.structs.replace(REQUEST, **changes))
    assert caught.value.code == "request-range"


def test_paths_and_files_may_have_any_bytes():
    outputs = (Output("oci", dest="/o\udce9"),)
    check_request(msgspec.structs.replace(REQUEST, context="/c\udce9", outputs=outputs, dockerfile_text="\0\udce9"))


def test_registry_errors_keep_their_request():
    sent = errors.RegistryError("denied", method="PUT", url="https://r/v2", status=403, temporary=True)
    got = error_of(failure_of(sent))
    assert isinstance(got, errors.RegistryError)
    assert (got.method, got.url, got.status, got.temporary) == ("PUT", "https://r/v2", 403, True)


def test_a_limit_of_open_files_is_no_fault_of_ours():
    got = error_of(failure_of(OSError(errno.EMFILE, "Too many open files")))
    assert type(got) is errors.HostError and got.code == "open-files" and "ulimit" in got.hints[0]
    got = error_of(failure_of(RuntimeError("can't start new thread")))
    assert type(got) is errors.HostError and got.code == "threads" and got.hints
    got = error_of(failure_of(MemoryError()))
    assert type(got) is errors.HostError and got.code == "out-of-memory" and got.hints


def test_a_path_too_long_is_no_fault_of_ours():
    got = error_of(failure_of(OSError(errno.ENAMETOOLONG, "File name too long", "/store" + "/d" * 2050)))
    assert type(got) is errors.HostError and got.code == "path-too-long" and len(got.message) < 300


def test_a_full_disk_is_no_fault_of_ours():
    got = error_of(failure_of(OSError(errno.ENOSPC, "No space left on device", "/store/x")))
    assert isinstance(got, errors.StoreError) and got.message == "no space left on device (/store/x)"
    assert got.exit_code == 5 and "prune" in got.hints[0]


def test_secrets_are_not_in_a_traceback():
    secret = Secret("id", b"hunter2")
    request = msgspec.structs.replace(REQUEST, secrets=(secret,))
    try:
        raise ValueError(f"bad request {request!r}")
    except ValueError as error:
        assert b"hunter2" not in encode_line(failure_of(error))


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


def test_a_worker_that_ends_early_is_not_a_reader_that_left():
    # BrokenPipeError from the worker's pipe would be taken for a closed standard output, and nothing be told.
    program = (
        "import os, sys, time\n"
        "from firkin import worker\n"
        "from firkin.builder.request import BuildRequest\n"
        "choose = worker.choose_way\n"
        "worker.choose_way = lambda *a: (time.sleep(0.3), choose(*a))[1]\n"
        "def prepare():\n"
        "    os.write(write_end, b'last words')\n"
        "    os._exit(3)\n"
        "read_end, write_end = os.pipe()\n"
        "pid = worker.start_worker(BuildRequest(context='.', store_root=sys.argv[1]), write_end, prepare=prepare)\n"
        "print(os.read(read_end, 100).decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, REQUEST.store_root], capture_output=True, text=True)
    assert ended.stdout == "last words 3\n", ended.stderr


@pytest.mark.parametrize("call", ["build", "check"])
def test_layers_are_unpacked_by_a_process_of_their_own(call):
    """The worker forks it before the build begins, when there is one thread, and it ends with the worker."""
    program = """
import os, sys
from firkin.layer import confined
from firkin.builder.request import BuildRequest
from firkin.worker import start_worker

def build(request, emit, cancel, way):
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

"""The front watches a worker: results, errors, signals, and a worker that is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from firkin import errors
from firkin.builder.request import BuildResult, ImageResult
from firkin.cli import front
from firkin.worker.client import Ending
from firkin.worker.messages import Success, failure_of

# `firkin build` with an engine of a few lines in place of the real one; argv as for firkin.
FRONT = """
import os, signal, sys, time
import msgspec
import firkin.worker.server
from firkin.errors import StepFailed, UsageError
from firkin.events import Completed, Log, Planned, Started, Finished, Vertex, Warned
from firkin.builder.request import BuildResult, ImageResult
from firkin.hints import Hint
from firkin.source import Source

def build(request, emit, cancel, backend):
    source = Source("Dockerfile", "FROM busybox\\nRUN it\\n")
    emit(Planned(1.0, (Vertex("a", "RUN it", "", 2, 2, source.span(2)),), source))
    emit(Started(1.0, "a"))
    emit(Log(1.5, "a", "stdout", b"hello\\n"))
    match request.context:
        case "done":
            emit(Finished(2.0, "a", "done"))
            image = ImageResult("sha256:aa", "sha256:bb", "m", ("docker.io/library/app:1",), "linux/amd64", 1)
            emit(Completed(2.0, "sha256:aa", "sha256:bb", image.names, 1000, 1.0))
            return BuildResult(image, (image,), (), (), 1.0, msgspec.Raw(b'{"containerimage.digest":"sha256:aa"}'))
        case "failed":
            emit(Finished(2.0, "a", "failed", "exit code 7"))
            raise StepFailed("`it` ended with 7", exit_code=7, span=source.span(2), hints=("fix it", Hint.of("no-cache")))
        case "warned":
            emit(Warned(2.0, "it", "a token can be read", hints=(Hint.of("prune"),), remedy=Hint.of("host-more-ids")))
            emit(Finished(3.0, "a", "failed", "no key", Hint.of("option-ssh", id="x")))
            raise UsageError("no key", option=Hint.of("option-ssh", id="x"))
        case "bug":
            raise KeyError("x")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":
            while True:
                cancel.check()
                time.sleep(0.01)
        case "inherited":
            import subprocess
            held = subprocess.run(["ls", "/proc/self/fd"], stdout=subprocess.PIPE, close_fds=False).stdout
            emit(Log(1.5, "a", "stdout", b"held: " + b" ".join(held.split()) + b"\\n"))
            raise StepFailed("told")
        case "deaf":
            emit(Log(1.5, "a", "stdout", b"%d\\n" % os.getpid()))
            while True:
                time.sleep(1)

firkin.worker.server.load_engine = lambda: build
sys.argv[0] = "firkin"
from firkin.cli.main import main
sys.exit(main())
"""


@pytest.fixture
def environ(tmp_path):
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "FIRKIN_ROOT": str(tmp_path / "store")}


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", FRONT, "build", *words]


def run(environ, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), env=environ, capture_output=True, text=True, timeout=60)


def test_success_writes_what_was_asked_for(environ, tmp_path):
    result = run(environ, "--iidfile", f"{tmp_path}/iid", "--metadata-file", f"{tmp_path}/meta.json", "done")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == "built docker.io/library/app:1 sha256:aa 1kB compressed in 1.0s"
    assert (tmp_path / "iid").read_text() == "sha256:bb"
    assert (tmp_path / "meta.json").read_text() == '{\n  "containerimage.digest": "sha256:aa"\n}'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iid", "meta.json", "store"]


def test_quiet_prints_the_image_id_only(environ):
    result = run(environ, "-q", "done")
    assert (result.returncode, result.stdout, result.stderr) == (0, "sha256:bb\n", "")


def test_json_goes_to_standard_output(environ):
    result = run(environ, "--progress=json", "done")
    assert result.stdout.startswith('{"event":"planned","') and result.stdout.count("\n") == 5
    assert result.stderr == ""


def test_a_failed_step_ends_with_its_exit_code_and_shows_the_line(environ):
    result = run(environ, "failed")
    assert result.returncode == 7
    assert result.stderr.endswith(
        "#1 ERROR: exit code 7\nerror: failed to solve: `it` ended with 7\nDockerfile:2:\n"
        " 1 |     FROM busybox\n 2 | >>> RUN it\nhint: fix it\nhint: build again with `--no-cache`\n")


def test_what_the_worker_tells_is_put_into_the_words_of_the_command_line(environ):
    result = run(environ, "--progress=json", "warned")
    warned, finished = (json.loads(line) for line in result.stdout.splitlines()[-2:])
    assert warned["message"] == "a token can be read; `firkin info` says how to get more ids"
    assert warned["hints"] == ["`firkin prune` tells more"]
    assert finished == {"event": "finished", "time": 3.0, "id": "a", "status": "failed", "detail": "--ssh x: no key"}
    assert result.stderr.startswith("error: --ssh x: no key\n") and result.returncode == 2


def test_a_bug_says_so_and_keeps_the_traceback_for_debug(environ):
    result = run(environ, "bug")
    assert result.returncode == 70 and "error: internal error: KeyError: 'x'\nhint: this is a fault" in result.stderr
    assert "Traceback" not in result.stderr
    assert "in build" in run(environ, "--debug", "bug").stderr


def test_a_worker_that_is_killed(environ):
    result = run(environ, "die")
    assert result.returncode == 70 and "error: the worker was killed (SIGKILL)" in result.stderr


def wait_for(process: subprocess.Popen[bytes], what: bytes) -> bytes:
    assert process.stderr is not None
    while True:
        line = process.stderr.readline()
        assert line, "the process ended"
        if what in line:
            return line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_the_build(environ, number):
    # Whoever runs the tests may ignore it (nohup), and exec keeps that.
    heard = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command("wait"), env=environ, stderr=subprocess.PIPE, preexec_fn=heard)
    wait_for(process, b"hello")
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + number and told.endswith(b"error: the build was cancelled\n")


def test_a_second_signal_kills(environ):
    process = subprocess.Popen(command("deaf"), env=environ, stderr=subprocess.PIPE)
    wait_for(process, b"hello")
    worker = int(wait_for(process, b"#1 0.500 ").split()[-1])
    process.send_signal(signal.SIGINT)
    wait_for(process, b"again to kill")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and not alive(worker)


def test_the_worker_dies_with_its_front(environ):
    process = subprocess.Popen(command("deaf"), env=environ, stderr=subprocess.PIPE)
    wait_for(process, b"hello")
    worker = int(wait_for(process, b"#1 0.500 ").split()[-1])
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(worker)
    assert process.stderr is not None
    process.stderr.close()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_reader_who_leaves_ends_the_build_quietly(environ):
    process = subprocess.Popen(command("--progress=json", "wait"), env=environ, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_an_image_is_not_written_to_a_terminal(environ):
    master, slave = os.openpty()
    result = subprocess.run(command("-o", "-", "done"), env=environ, stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                            text=True, timeout=60)  # fmt: skip
    os.close(slave)
    os.close(master)
    assert result.returncode == 2 and "not written to a terminal" in result.stderr


def test_a_caller_who_ignores_signals(environ):
    """`trap '' CHLD` of a script and `nohup` are inherited."""

    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    result = subprocess.run(command("done"), env=environ, capture_output=True, text=True, timeout=60, preexec_fn=ignore)
    assert result.returncode == 0 and "built docker.io/library/app:1" in result.stderr
    process = subprocess.Popen(command("wait"), env=environ, stderr=subprocess.PIPE, preexec_fn=ignore)
    wait_for(process, b"hello")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert process.stderr is not None
    process.stderr.close()


def test_commands_do_not_inherit_what_the_caller_left_open(environ):
    with open(os.devnull) as other:
        result = subprocess.run(command("inherited"), env=environ, capture_output=True, text=True, timeout=60,
                                pass_fds=(other.fileno(),))  # fmt: skip
    assert "held: 0 1 2 3\n" in result.stderr  # 3 is where `ls` reads the list


def test_files_of_results_are_looked_at_before_the_build(environ, tmp_path):
    for option in ("--iidfile", "--metadata-file"):
        for place in (tmp_path / "nowhere/file", tmp_path):
            result = run(environ, option, str(place), "done")
            assert result.returncode == 2 and f"error: option `{option}`: cannot write {place}\n" in result.stderr
    (tmp_path / "iid").write_text("sha256:of-another-image")
    assert run(environ, "--iidfile", str(tmp_path / "iid"), "failed").returncode == 7
    assert not (tmp_path / "iid").exists()


class FakeWorker:
    """A worker that notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, float]] = []

    def send(self, number: int) -> None:
        self.done.append(("send", number))

    def kill_after(self, grace_s: float) -> None:
        self.done.append(("kill_after", grace_s))


@pytest.mark.parametrize(
    ("number", "passed_on"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGTERM)],
)
def test_signals_reach_a_worker_that_was_not_there_yet(number, passed_on):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signals = front._Signals()
    try:
        os.kill(os.getpid(), number)
        worker = FakeWorker()
        signals.pass_to(worker)
        assert worker.done == [("kill_after", front.GRACE_S), ("send", passed_on)] and signals.asked == number
        os.kill(os.getpid(), signal.SIGTERM)  # the time runs from the first one
        assert worker.done[2:] == [("send", signal.SIGTERM)] and signals.asked == number
        assert signals.waiting() == bytes([number, signal.SIGTERM]) and signals.waiting() == b""
    finally:
        signals.restore()
        signal.signal(signal.SIGHUP, before)


def test_what_came_of_a_build():
    image = ImageResult("sha256:aa", "sha256:bb", "m", (), "linux/amd64", 1)
    result = BuildResult(image, (image,), (), (), 1.0)
    assert front._result_of(Ending(Success(result), 0), signal.SIGINT) is result  # it was done all the same
    stopped = front._result_of(Ending(failure_of(errors.StepFailed("it")), 1), signal.SIGINT)
    assert isinstance(stopped, errors.Cancelled) and stopped.exit_code == 130
    assert isinstance(front._result_of(Ending(failure_of(errors.StepFailed("it")), 1), 0), errors.StepFailed)
    killed = front._result_of(Ending(None, -signal.SIGKILL), 0)
    assert isinstance(killed, errors.InternalError) and "dmesg" in str(killed.hints)
    assert "status 3" in str(front._result_of(Ending(None, 3), 0))

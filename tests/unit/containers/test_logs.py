"""Reading logs: which lines, in which form, and following a file that is renamed, emptied, and ends."""

import json
import os
import threading

import msgspec
import pytest

from firkin.containers.documents.config import Config, HostConfig, LogConfig
from firkin.containers.documents.record import Record, State
from firkin.containers.home.engine import Engine
from firkin.containers.log_files import LogEntry
from firkin.containers.logs import LogQuery, line_bytes, read_logs
from firkin.errors import ContainerError

ID = "ab" * 32
STARTED = "2026-01-02T03:04:00Z"
RUNNING = State(running=True, started_at=STARTED)
START_NS = 1767323045 * 10**9  # 2026-01-02T03:04:05Z
WAIT_S = 20


class Logged:
    """A container on disk whose log a test writes."""

    def __init__(self, root, state, driver="json-file"):
        self.engine = Engine(str(root))
        self.directory = self.engine.home.directory(ID)
        os.makedirs(f"{self.directory}/log")
        self.record = Record(
            1, ID, "x", STARTED, "sha256:" + "1" * 64, Config(), HostConfig(log_config=LogConfig(driver)), "sh", (), ()
        )
        self.put("config.json", self.record)
        self.put("state.json", state)
        self.path = f"{self.directory}/log/{ID}-json.log"

    def put(self, name, document):
        with open(f"{self.directory}/new", "wb") as file:
            file.write(msgspec.json.encode(document))
        os.rename(f"{self.directory}/new", f"{self.directory}/{name}")

    def write(self, *numbers, ends="\n"):
        with open(self.path, "ab") as file:
            for number in numbers:
                stream = "stderr" if number % 2 else "stdout"
                line = {"log": f"{number}{ends}", "stream": stream, "time": f"2026-01-02T03:04:05.{number:03}Z"}
                file.write(json.dumps(line).encode() + b"\n")

    def end(self):
        self.put("state.json", State(started_at=STARTED, finished_at=STARTED))

    def read(self, **query):
        return [
            int(entry.log)
            for lines in read_logs(self.engine, self.record, LogQuery(**query))
            for entry in lines
        ]

    def follow(self, **query):
        """Return a thread that follows, and the list that it fills."""
        found = []

        def work():
            for lines in read_logs(self.engine, self.record, LogQuery(follow=True, **query)):
                for entry in lines:
                    found.append(int(entry.log))
                    seen.release()

        seen = threading.Semaphore(0)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread, found, seen


@pytest.fixture
def logged(tmp_path):
    return Logged(tmp_path, State(started_at=STARTED, finished_at=STARTED))


@pytest.fixture
def running(tmp_path):
    return Logged(tmp_path, RUNNING)


def test_streams_times_and_tail(logged):
    assert logged.read() == []
    logged.write(*range(10))
    assert logged.read() == list(range(10))
    assert logged.read(stdout=False) == [1, 3, 5, 7, 9]
    assert logged.read(since_ns=START_NS + 7 * 10**6) == [7, 8, 9]
    assert logged.read(since_ns=START_NS + 7 * 10**6 + 1) == [8, 9]
    assert logged.read(until_ns=START_NS + 2 * 10**6) == [0, 1, 2]
    assert logged.read(tail=3) == [7, 8, 9]
    assert logged.read(tail=0) == []
    assert logged.read(tail=4, stderr=False) == [6, 8]


def test_following_what_has_ended_ends(logged):
    logged.write(1, 2)
    assert logged.read(follow=True) == [1, 2]
    assert logged.read(follow=True, tail=0) == []


def test_an_unfinished_last_line_is_shown(logged):
    logged.write(1)
    logged.write(2, ends="")
    assert logged.read() == [1, 2]


def test_follow_until_the_end(running):
    running.write(1)
    thread, found, seen = running.follow()
    assert seen.acquire(timeout=WAIT_S)
    for number in range(2, 6):
        running.write(number)
        assert seen.acquire(timeout=WAIT_S)
    running.write(6)
    running.end()
    thread.join(WAIT_S)
    assert found == [1, 2, 3, 4, 5, 6] and not thread.is_alive()


def test_follow_a_log_that_is_not_there_yet(running):
    thread, found, seen = running.follow()
    running.write(1)
    assert seen.acquire(timeout=WAIT_S)
    running.end()
    thread.join(WAIT_S)
    assert found == [1]


def test_follow_over_rotations(running):
    running.write(1)
    thread, found, seen = running.follow()
    assert seen.acquire(timeout=WAIT_S)
    for number in range(2, 5):
        os.rename(running.path, f"{running.path}.{number}")
        running.write(number)
        assert seen.acquire(timeout=WAIT_S)
    running.end()
    thread.join(WAIT_S)
    assert found == [1, 2, 3, 4]


def test_two_rotations_at_once_lose_nothing(running, monkeypatch):
    running.write(1)
    thread, found, seen = running.follow()
    assert seen.acquire(timeout=WAIT_S)
    other = f"{running.directory}/aside"
    os.mkdir(other)
    path, running.path = running.path, f"{other}/0"
    running.write(2)
    running.path = f"{other}/1"
    running.write(3)
    os.rename(path, f"{path}.2")
    os.rename(f"{other}/0", f"{path}.1")
    os.rename(f"{other}/1", path)
    for _ in range(2):
        assert seen.acquire(timeout=WAIT_S)
    running.end()
    thread.join(WAIT_S)
    assert found == [1, 2, 3]


def test_follow_a_file_that_begins_anew(running):
    running.write(*range(100, 120))
    thread, found, seen = running.follow(tail=1)
    assert seen.acquire(timeout=WAIT_S)
    running.write(120)
    assert seen.acquire(timeout=WAIT_S)
    os.truncate(running.path, 0)
    running.write(7)
    assert seen.acquire(timeout=WAIT_S)
    running.end()
    thread.join(WAIT_S)
    assert found == [119, 120, 7]


def test_following_ends_when_a_policy_starts_it_again(running):
    running.write(1)
    thread, _, seen = running.follow()
    assert seen.acquire(timeout=WAIT_S)
    running.put("state.json", State(running=True, restarting=True, started_at=STARTED, finished_at=STARTED))
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_following_ends_at_a_time(running):
    running.write(1)
    assert running.read(follow=True, until_ns=START_NS + 5 * 10**6) == [1]


def test_following_works_without_inotify(running, monkeypatch):
    def refused():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("firkin.linux.syscalls.inotify_init", refused)
    thread, found, seen = running.follow()
    running.write(1)
    assert seen.acquire(timeout=WAIT_S)
    running.end()
    thread.join(WAIT_S)
    assert found == [1]


def test_no_descriptor_is_left(running):
    running.write(1)
    before = os.listdir("/proc/self/fd")
    for _ in read_logs(running.engine, running.record, LogQuery(follow=True)):
        break
    running.end()
    assert running.read(follow=True) == [1]
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_what_cannot_be_read(tmp_path):
    none = Logged(tmp_path / "none", State(), "none")
    with pytest.raises(ContainerError, match="configured logging driver does not support reading") as caught:
        none.read()
    assert caught.value.kind == "unsupported"
    dead = Logged(tmp_path / "dead", State(started_at=STARTED, dead=True))
    with pytest.raises(ContainerError, match="dead or marked for removal") as caught:
        dead.read()
    assert caught.value.kind == "conflict"


def test_forms_of_a_line():
    entry = LogEntry("hé\n", "stdout", {"b": "x y", "a": "1=2"}, "2026-01-02T03:04:05.1Z")
    assert line_bytes(entry) == "hé\n".encode()
    assert line_bytes(entry, timestamps=True) == "2026-01-02T03:04:05.100000000Z hé\n".encode()
    assert line_bytes(entry, details=True) == "a=1%3D2,b=x+y hé\n".encode()
    both = line_bytes(LogEntry("a\n", time="2026-01-02T03:04:05Z"), timestamps=True, details=True)
    assert both == b"2026-01-02T03:04:05.000000000Z  a\n"

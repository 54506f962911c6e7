"""TERM and INT end whatever firkin is doing within two seconds, with 128 + their number, and nothing is left behind."""

import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin, make_firkin
from support.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.faults]

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LIMIT_S = 2.0
DEAF = "#!/bin/sh\ntrap '' TERM INT HUP\ntouch {place}/started\nsleep 1234; sleep 1235\n"
DEAF_STEP = "FROM busybox\nRUN echo under''way; trap '' TERM INT HUP; while :; do sleep 1; done\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 999999\r\n\r\nsome"


class Silent:
    """A server that takes connections, may begin to answer, and says nothing more."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.first:
                connection.recv(4096)
                connection.sendall(self.first)
            self.connections.append(connection)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def close(self) -> None:
        self.listener.close()
        for connection in self.connections:
            connection.close()


@dataclass
class Scene:
    """What a state is made of: firkin, a place for files, servers, and how to see that the state is reached."""

    firkin: Firkin
    place: Path
    silent: Silent
    streaming: Silent
    stack: ExitStack
    options: dict[str, Any] = field(default_factory=dict)
    reached: Callable[[], bool] = lambda: False
    wait_s: float = 20.0

    def context(self, dockerfile: str) -> str:
        place = self.firkin.directory(f"context-{time.monotonic_ns()}")
        (place / "Dockerfile").write_text(dockerfile)
        return str(place)

    def program(self, name: str) -> str:
        """Make a program that hangs and hears nothing; the state is reached when it has started."""
        folder = self.firkin.directory("bin")
        (folder / name).write_text(DEAF.format(place=folder))
        (folder / name).chmod(0o755)
        self.reached = (folder / "started").exists
        return str(folder)

    def after(self, seconds: float) -> None:
        """Call the state reached after a while: nothing tells from outside."""
        began = time.monotonic()
        self.reached = lambda: time.monotonic() > began + seconds

    def asked(self, server: Silent) -> str:
        self.reached = lambda: bool(server.connections)
        return server.host


@pytest.fixture
def scene(scratch: Path, registry: Registry) -> Iterator[Scene]:
    kind = "root" if os.geteuid() == 0 else "user"
    with ExitStack() as stack:
        servers = [stack.enter_context(closing(Silent(first))) for first in (b"", STREAM)]
        yield Scene(make_firkin(kind, scratch / "firkin", registry.url), scratch, servers[0], servers[1], stack)


def deaf_step(scene: Scene) -> list[str]:
    log = scene.stack.enter_context(open(scene.place / "log", "w+b"))
    scene.options["stderr"] = log
    scene.reached = lambda: b" underway" in (scene.place / "log").read_bytes()
    return ["build", "--progress", "plain", scene.context(DEAF_STEP)]


def deaf_step_in_a_chroot(scene: Scene) -> list[str]:
    if os.geteuid():
        pytest.skip("chroot needs root")
    return [*deaf_step(scene), "--isolation", "chroot"]


def silent_registry(scene: Scene) -> list[str]:
    return ["build", scene.context(f"FROM {scene.asked(scene.silent)}/image\n")]


def silent_pull(scene: Scene) -> list[str]:
    return ["pull", f"{scene.asked(scene.silent)}/image"]


def silent_push(scene: Scene) -> list[str]:
    name = f"{scene.silent.host}/image:1"
    scene.firkin.run("build", "-t", name, scene.context("FROM busybox\n"))
    scene.asked(scene.silent)
    return ["push", name]


def silent_build_push(scene: Scene) -> list[str]:
    return ["build", "--push", "-t", f"{scene.asked(scene.silent)}/image:1", scene.context("FROM busybox\n")]


def silent_check(scene: Scene) -> list[str]:
    return ["check", scene.context(f"FROM {scene.asked(scene.silent)}/image\n")]


def silent_cache_list(scene: Scene) -> list[str]:
    return ["cache", "ls", f"{scene.asked(scene.silent)}/cache"]


def silent_login(scene: Scene) -> list[str]:
    password, write_end = os.pipe()
    os.write(write_end, b"secret\n")
    os.close(write_end)
    scene.options["stdin"] = password
    return ["login", "-u", "me", "--password-stdin", scene.asked(scene.silent)]


def a_download_that_stalls(scene: Scene) -> list[str]:
    return ["build", scene.context(f"FROM scratch\nADD http://{scene.asked(scene.streaming)}/file /\n")]


def silent_git_server(scene: Scene) -> list[str]:
    return ["build", f"http://{scene.asked(scene.silent)}/repository.git"]


def deaf_ssh(scene: Scene) -> list[str]:
    scene.options["env"] = {"PATH": f"{scene.program('ssh')}:{os.environ['PATH']}"}
    return ["build", "git@example.invalid:repository.git"]


def deaf_credential_helper(scene: Scene) -> list[str]:
    scene.options["env"] = {
        "PATH": f"{scene.program('docker-credential-deaf')}:{os.environ['PATH']}",
        "DOCKER_AUTH_CONFIG": f'{{"credHelpers":{{"{scene.silent.host}":"deaf"}}}}',
    }
    scene.silent.first = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
    return ["pull", f"{scene.silent.host}/image"]


def a_context_that_never_ends(scene: Scene) -> list[str]:
    read_end, write_end = os.pipe()
    scene.stack.callback(os.close, write_end)
    scene.options["stdin"] = read_end
    scene.after(1.0)
    return ["build", "-"]


def nobody_reads_the_image(scene: Scene) -> list[str]:
    read_end, write_end = os.pipe()
    scene.stack.callback(os.close, read_end)
    scene.options["stdout"] = write_end
    scene.after(1.5)
    return ["build", "-o", "-", scene.context("FROM busybox\n")]


def nobody_reads_the_progress(scene: Scene) -> list[str]:
    read_end, write_end = os.pipe()
    scene.stack.callback(os.close, read_end)
    scene.options["stderr"] = write_end
    scene.after(2.0)
    return ["build", "--progress", "plain", scene.context("FROM busybox\nRUN yes\n")]


def a_huge_file_of_the_context(scene: Scene) -> list[str]:
    place = scene.context("FROM scratch\nCOPY huge /\n")
    os.truncate(os.open(f"{place}/huge", os.O_CREAT | os.O_WRONLY, 0o644), 64 << 30)
    scene.after(1.5)
    return ["build", place]


def a_huge_file_of_a_step(scene: Scene) -> list[str]:
    scene.after(2.0)
    return ["build", scene.context("FROM busybox\nRUN truncate -s 64G /huge\n")]


def hold_locks(scene: Scene) -> None:
    scene.firkin.run("build", scene.context("FROM busybox\nRUN true\n"))
    for path in scene.firkin.store.glob("*.lock"):
        fcntl.flock(scene.stack.enter_context(open(path, "rb")), fcntl.LOCK_EX)
    scene.after(1.0)


def locks_of_another_process(scene: Scene) -> list[str]:
    hold_locks(scene)
    return ["build", "-t", "name", scene.context("FROM busybox\nRUN true\n")]


def locks_while_pulling(scene: Scene) -> list[str]:
    hold_locks(scene)
    return ["pull", f"{scene.firkin.registry_url.partition('://')[2]}/library/busybox"]


def the_database_is_busy(scene: Scene) -> list[str]:
    scene.firkin.run("build", scene.context("FROM busybox\nRUN true\n"))
    database = sqlite3.connect(scene.firkin.store / "records.db", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    scene.stack.enter_context(closing(database))
    scene.after(1.0)
    return ["prune"]


STATES = [
    deaf_step, deaf_step_in_a_chroot, silent_registry, silent_pull, silent_push, silent_build_push, silent_check,
    silent_cache_list, silent_login, a_download_that_stalls, silent_git_server, deaf_ssh, deaf_credential_helper,
    a_context_that_never_ends, nobody_reads_the_image, nobody_reads_the_progress, a_huge_file_of_the_context,
    a_huge_file_of_a_step, locks_of_another_process, locks_while_pulling, the_database_is_busy,
]  # fmt: skip


def remaining(place: Path) -> list[str]:
    """Return the processes that have to do with a place: by command line, environment or mounts."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            facts = b"".join((entry / name).read_bytes() for name in ("cmdline", "environ", "mountinfo"))
        except OSError:
            continue
        if str(place).encode() in facts:
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def begin(scene: Scene, state: Callable[[Scene], list[str]]) -> "subprocess.Popen[bytes]":
    """Start firkin and wait until it is in the state."""
    words = state(scene)
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **scene.options}
    process = scene.firkin.popen(*words, **options)
    for name in ("stdin", "stdout", "stderr"):
        if isinstance(scene.options.get(name), int):
            os.close(scene.options[name])
    deadline = time.monotonic() + scene.wait_s
    while not scene.reached():
        assert process.poll() is None, f"it ended before: {process.returncode}"
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.02)
    assert process.poll() is None
    return process


def check_end(scene: Scene, process: "subprocess.Popen[bytes]", number: signal.Signals, began: float) -> None:
    try:
        status = process.wait(timeout=20)
    finally:
        process.kill()
    took = time.monotonic() - began
    assert status == 128 + number
    assert took < LIMIT_S
    deadline = time.monotonic() + 1  # the kernel is not done with a killed process at once
    while remaining(scene.place) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert remaining(scene.place) == []
    scratch = scene.firkin.store / "tmp"
    assert not scratch.exists() or sorted(scratch.iterdir()) == []


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_signal_ends_it(scene: Scene, state: Callable[[Scene], list[str]]) -> None:
    process = begin(scene, state)
    number = SIGNALS[STATES.index(state) % 2]
    began = time.monotonic()
    process.send_signal(number)
    check_end(scene, process, number, began)


@pytest.mark.parametrize("state", [deaf_step, a_huge_file_of_a_step, deaf_ssh], ids=lambda state: state.__name__)
def test_a_second_signal(scene: Scene, state: Callable[[Scene], list[str]]) -> None:
    process = begin(scene, state)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    check_end(scene, process, signal.SIGINT, began)


@pytest.mark.root
@pytest.mark.parametrize("command", ["build", "pull"])
def test_a_silent_name_server(scene: Scene, command: str) -> None:
    """The C library waits for names by itself, and nobody can tell it to stop."""
    server = scene.stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
    address = {"build": "127.0.0.86", "pull": "127.0.0.87"}[command]  # both may run at once, and name servers have one port
    server.bind((address, 53))
    server.settimeout(20)
    (scene.place / "resolv.conf").write_text(f"nameserver {address}\n")
    (scene.place / "nsswitch.conf").write_text("hosts: dns\n")
    binds = "".join(
        f"mount --bind {scene.place}/{name} {os.path.realpath(f'/etc/{name}')} && "
        for name in ("resolv.conf", "nsswitch.conf")
    )
    what = scene.context("FROM registry.example.org/image\n") if command == "build" else "registry.example.org/image"
    words = scene.firkin.command(command, what)
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{binds} exec "$@"', "sh", *words],
        env=scene.firkin.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    server.recv(512)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    check_end(scene, process, signal.SIGTERM, began)


def test_helpers_end_with_their_own_children(scene: Scene) -> None:
    """`deaf_credential_helper` sleeps in a child; killing the helper alone would leave that behind."""
    process = begin(scene, deaf_credential_helper)
    deadline = time.monotonic() + 10
    while not any("sleep" in line for line in remaining(scene.place)):
        assert time.monotonic() < deadline, "the helper never started its child"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    check_end(scene, process, signal.SIGINT, time.monotonic())

"""A command that goes on while its starter does: it is signalled, resized and joined by a second one."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firkin.errors import HostError
from firkin.oci.run import MemoryMount, RunSpec
from firkin.sandbox.namespaces import NamespaceSandbox
from firkin.sandbox.result import RunResult
from firkin.sandbox.spawn import Process, Stdio

pytestmark = [pytest.mark.root]

ENV = (("PATH", "/bin"),)
# What a process is limited to, and where it lives.
LIMITS = "grep -E '^(CapPrm|CapEff|CapBnd|CapInh|CapAmb|NoNewPrivs|Seccomp|Seccomp_filters|Uid|Gid|Groups):' /proc/self/status"
PLACES = "for each in mnt pid uts ipc; do readlink /proc/self/ns/$each; done; hostname"


class Command:
    """A command of a busybox in namespaces, with a pipe from it and one to it."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        (self.root / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", self.root / "bin/busybox")
        for name in ("sh", "grep", "readlink", "hostname", "cat", "sleep", "stty", "ps", "touch", "id", "mount", "chown", "ls"):
            (self.root / "bin" / name).symlink_to("busybox")
        self.place = place
        self.sandbox = NamespaceSandbox()
        self.processes: list[Process] = []
        self.number = 0

    def spec(self, script: str, **fields: object) -> RunSpec:
        return RunSpec(("sh", "-c", script), "inside", ENV, mounts=(MemoryMount("/mounted"),), **fields)

    def spawn(self, script: str, stdio: Stdio, **fields: object) -> Process:
        self.number += 1
        scratch = self.place / f"scratch-{self.number}"
        scratch.mkdir()
        plan = self.sandbox.prepare(self.spec(script, **fields), str(self.root), str(scratch))
        process = self.sandbox.spawn(plan, stdio)
        self.processes.append(process)
        return process

    def join(self, first: Process, script: str, **fields: object) -> tuple[RunResult, str]:
        reader, writer = os.pipe()
        process = self.sandbox.join(first.namespaces, self.spec(script, **fields), Stdio(None, writer, writer))
        os.close(writer)
        with open(reader, encoding="utf-8") as file:
            said = file.read()
        return process.wait(), said

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.close()


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    found = Command(tmp_path)
    yield found
    found.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def line_of(reader: int) -> str:
    text = b""
    while not text.endswith(b"\n"):
        assert select.select([reader], [], [], 20)[0], f"nothing more after {text!r}"
        text += os.read(reader, 1)
    return text.decode().strip()


def test_a_second_command_lives_with_the_first_and_has_its_limits(command: Command, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    script = f"touch /mounted/here; {{ {LIMITS}; {PLACES}; }} > /mounted/first; echo ready; exec sleep 60"
    first = command.spawn(script, Stdio(None, writer, writer), uid=5, gid=6, groups=(6, 7))
    assert line_of(reader) == "ready"
    second, said = command.join(first, f"{LIMITS}; {PLACES}", uid=5, gid=6, groups=(6, 7))
    assert second.exit_code == 0, said
    _, listed = command.join(first, "cat /mounted/first; echo; ps -o comm,args")
    first_said, _, processes = listed.partition("\n\n")
    assert said.strip() == first_said.strip()
    assert "inside" in said and "Seccomp:\t2" in said
    assert "sleep 60" in processes and "pytest" not in processes
    assert not (command.root / "mounted/here").exists()
    # It cannot do what the first could not.
    refused, why = command.join(first, "mount -t tmpfs none /mounted")
    assert refused.exit_code and "denied" in why
    first.signal(signal.SIGTERM)
    assert first.wait().signal == signal.SIGTERM


def test_a_second_command_ends_with_the_first(command: Command, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    first = command.spawn("echo ready; exec sleep 60", Stdio(None, writer, writer))
    assert line_of(reader) == "ready"
    second = command.sandbox.join(
        first.namespaces, command.spec("echo too; exec sleep 60"), Stdio(None, writer, writer)
    )
    assert line_of(reader) == "too"
    first.stop()
    assert first.wait(cancelled=True).cancelled
    with pytest.raises(HostError):
        second.wait()


def test_in_a_shared_pid_namespace_it_leaves_nothing_behind(command: Command, pipe: tuple[int, int]) -> None:
    command.sandbox = NamespaceSandbox(fresh_proc=False)
    reader, writer = pipe
    first = command.spawn("echo ready; exec sleep 60", Stdio(None, writer, writer))
    assert line_of(reader) == "ready"
    second, said = command.join(first, "sleep 61 >/dev/null 2>&1 & echo $!")
    assert second.exit_code == 0
    assert not os.path.exists(f"/proc/{said.strip()}")
    first.stop()
    assert first.wait(cancelled=True).cancelled


def test_it_can_be_stopped_alone(command: Command, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    first = command.spawn("echo ready; exec sleep 60", Stdio(None, writer, writer))
    assert line_of(reader) == "ready"
    stopped, killed = (
        command.sandbox.join(first.namespaces, command.spec("echo too; exec sleep 70"), Stdio(None, writer, writer))
        for _ in range(2)
    )
    assert (line_of(reader), line_of(reader)) == ("too", "too")
    stopped.signal(signal.SIGKILL)
    assert stopped.wait().signal == signal.SIGKILL
    killed.kill()
    with pytest.raises(HostError):
        killed.wait()
    assert "sleep 70" not in command.join(first, "ps -o args")[1]
    first.signal(signal.SIGKILL)
    assert first.wait().exit_code == 137


def test_signals_reach_the_command_itself(command: Command, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    process = command.spawn(
        "trap 'echo told' HUP; echo ready; while :; do sleep 0.05; done", Stdio(None, writer, writer)
    )
    assert line_of(reader) == "ready"
    process.signal(signal.SIGHUP)
    assert line_of(reader) == "told"
    assert not select.select([process.pidfd], [], [], 0)[0]
    process.signal(signal.SIGKILL)
    assert select.select([process.pidfd], [], [], 20)[0]
    assert process.wait().signal == signal.SIGKILL


def test_a_command_that_has_ended_is_not_mistaken_for_another(command: Command, pipe: tuple[int, int]) -> None:
    _, writer = pipe
    first = command.spawn("exit 3", Stdio(None, writer, writer))
    assert first.wait().exit_code == 3
    second = command.spawn("read line; exit 4", Stdio(pipe_in := os.pipe()[0], writer, writer))
    first.signal(signal.SIGKILL)
    assert not select.select([second.pidfd], [], [], 0.3)[0]
    with pytest.raises(HostError, match="has ended"):
        _ = first.namespaces
    second.stop()
    second.wait(cancelled=True)
    os.close(pipe_in)


def test_nobody_inherits_a_command_or_what_its_joiner_holds(command: Command, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    watch = "while :; do for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -E 'etc|pidfd'; done; done"
    first = command.spawn(f"echo ready; {watch}", Stdio(None, writer, writer), security="insecure")
    assert line_of(reader) == "ready"
    assert not os.get_inheritable(first.pidfd)
    held = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        for _ in range(5):
            assert command.join(first, "exit 0")[0].exit_code == 0
    finally:
        os.close(held)
    first.stop()
    first.wait(cancelled=True)
    os.set_blocking(reader, False)
    try:
        seen = os.read(reader, 1 << 16)
    except BlockingIOError:
        seen = b""
    assert b"/etc" not in seen, seen


def test_a_terminal_has_a_size_and_tells_of_another(command: Command) -> None:
    master, slave = os.openpty()
    script = "trap 'stty size' WINCH; stty -echo; echo ready; while :; do sleep 0.05; done"
    process = command.spawn(script, Stdio(slave, slave, slave, terminal=master), terminal=True)
    os.close(slave)
    assert line_of(master) == "ready"
    process.resize(33, 101)
    assert line_of(master) == "33 101"
    os.write(master, b"\x03")  # the interrupt character reaches it, as it is its controlling terminal
    assert process.wait().signal == signal.SIGINT
    os.close(master)


def test_with_one_id_changes_of_owner_of_a_second_command_have_no_effect(tmp_path: Path) -> None:
    Command(tmp_path)
    program = """
import os, sys
from firkin.linux.enter import NamespacePlan, fork_into_namespaces
from firkin.linux.idmap import IdMaps, IdRange
from firkin.oci.run import RunSpec
from firkin.sandbox.namespaces import NamespaceSandbox
from firkin.sandbox.spawn import Stdio

def spec(script):
    return RunSpec(("sh", "-c", script), "inside", (("PATH", "/bin"),), uid=5, gid=5)

def child():
    os.mkdir(sys.argv[1] + "/scratch")
    sandbox = NamespaceSandbox(single_id=True)
    stdio = Stdio(None, 1, 2)
    plan = sandbox.prepare(spec("exec sleep 60"), sys.argv[1] + "/root", sys.argv[1] + "/scratch")
    first = sandbox.spawn(plan, stdio)
    script = "touch /made && chown 7:8 /made && ls -n /made"
    print(sandbox.join(first.namespaces, spec(script), stdio).wait().exit_code, flush=True)
    first.stop()
    first.wait(cancelled=True)
    return 0

one = (IdRange(0, 0, 1),)
pid = fork_into_namespaces(NamespacePlan(True, IdMaps(one, one, deny_setgroups=True)), child)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "0", done.stdout + done.stderr
    assert (tmp_path / "root/made").stat().st_uid == 0


def test_what_cannot_be_prepared_is_said_at_once(command: Command, pipe: tuple[int, int]) -> None:
    shutil.rmtree(command.root)
    with pytest.raises(HostError, match="cannot prepare the sandbox"):
        command.spawn("true", Stdio(None, pipe[1], pipe[1]))

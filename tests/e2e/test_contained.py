"""What a container sees, and what it cannot do: plans performed by the real kernel, without a monitor."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.contained import Ended, Running, make_directory, make_record

from firkin.containers.config import Config, HostConfig
from firkin.containers.plan import ContainerPlan, Place, plan_container
from firkin.containers.record import MountPoint
from firkin.linux.idmap import IdMaps, IdRange, single_maps

pytestmark = [pytest.mark.root]

MAPS = {
    "root": None,
    "subordinate": IdMaps((IdRange(0, 1_000_000, 65536),), (IdRange(0, 1_000_000, 65536),)),
    "single": single_maps(0, 0),
}


class Box:
    """One container: its directory, and the options of its plan."""

    def __init__(self, place: Path, maps: IdMaps | None) -> None:
        self.place, self.maps = place, maps
        self.directory = make_directory(str(place))
        if maps is not None:
            for path, _, _ in os.walk(self.directory):
                os.chown(path, maps.uids[0].outside, maps.gids[0].outside)

    def plan(self, *argv: str, mounts: tuple[MountPoint, ...] = (), config: dict[str, Any] | None = None,
             **host: Any) -> ContainerPlan:  # fmt: skip
        record = make_record(
            argv, ("base",), mounts=mounts, config=Config(**{"hostname": "box", **(config or {})}),
            host=HostConfig(**{"network_mode": "none", **host}),
        )  # fmt: skip
        return plan_container(record, Place(self.directory, str(self.place / "trees"), os.uname().machine, self.maps))

    def run(self, *argv: str, **options: Any) -> Ended:
        """Run a command to its end."""
        plan = self.plan(*argv, **options)
        return Running(plan.plan, plan.maps).wait()


@pytest.fixture(params=list(MAPS))
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Box]:
    """A container on busybox: as root, in a user namespace, and in one with a single id."""
    maps = MAPS[request.param]
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    tree = tmp_path / "trees" / "base" / "fs"
    for name in ("bin", "etc", "tmp", "home"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", tree / "bin")
    for name in subprocess.check_output(["busybox", "--list"], text=True).split():
        if name != "busybox":
            (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\nbob:x:1000:\nstaff:x:50:bob\ntty:x:5:\n")
    if maps is not None:
        subprocess.run(["chown", "-R", f"{maps.uids[0].outside}:{maps.gids[0].outside}", tree], check=True)
    yield Box(tmp_path, maps)
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line]


def test_is_process_1_in_namespaces_of_its_own(box: Box) -> None:
    ended = box.run("sh", "-c", "echo $$ $PPID; hostname; cat /proc/1/comm; ls /sys/class/net; umask; pwd; env; ls /proc/self/fd")
    assert ended.out.splitlines() == [
        "1 0", "box", "sh", "lo", "0022", "/", "HOSTNAME=box", "SHLVL=1", "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PWD=/", "0", "1", "2", "3",
    ]  # fmt: skip
    assert ended.code == 0


def test_has_the_usual_capabilities(box: Box) -> None:
    ended = box.run("sh", "-c", "grep -E 'Cap|Seccomp:|NoNew' /proc/self/status")
    found = dict(line.split(":\t") for line in ended.out.splitlines())
    usual = "00000000a80425fb"
    assert found == {
        "CapInh": "0" * 16, "CapPrm": usual, "CapEff": usual, "CapBnd": usual, "CapAmb": "0" * 16,
        "NoNewPrivs": "0", "Seccomp": "2",
    }  # fmt: skip


def test_ends_with_the_code_of_its_command(box: Box) -> None:
    assert box.run("sh", "-c", "exit 7").code == 7
    assert box.run("sh", "-c", "exit 7", init=True).code == 7
    assert box.run("sh", "-c", "kill -TERM $$", init=True).code == 143


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("nosuch",), 127, 'exec: "nosuch": executable file not found in $PATH'),
        (("/nosuch",), 127, "no such file or directory"),
        (("/etc",), 126, "is a directory"),
        (("/etc/passwd",), 126, "permission denied"),
    ],
)
def test_says_why_a_command_cannot_run(box: Box, argv: tuple[str, ...], code: int, words: str) -> None:
    ended = box.run(*argv)
    assert (ended.code, words in ended.failure) == (code, True), ended.failure


def test_runs_again_on_what_it_left(box: Box) -> None:
    plan = box.plan("sh", "-c", "cat /left 2>&1; echo here >/left", auto_remove=True)
    assert "No such file" in Running(plan.plan, plan.maps).wait().out
    assert Running(plan.plan, plan.maps).wait().out == "here\n"


def test_terminal_is_the_containers_own(box: Box) -> None:
    ended = box.run("sh", "-c", "tty; echo told >/dev/console; echo $TERM; test -t 0", config={"tty": True})
    assert (ended.code, ended.out) == (0, "/dev/pts/0\r\ntold\r\nxterm\r\n")


def test_second_command_joins(box: Box) -> None:
    plan = box.plan("sleep", "60")
    first = Running(plan.plan, plan.maps)
    pidfd = os.pidfd_open(first.pid)
    try:
        changes = {"argv": ("sh", "-c", "hostname; cat /proc/1/cmdline | tr '\\0' ' '; ls -l /proc/self/exe; pwd; exit 3"),
                   "cwd": "/tmp"}  # fmt: skip
        ended = Running(plan.exec, None, changes=changes, joined=(pidfd,)).wait()
    finally:
        os.kill(first.pid, 9)
        os.close(pidfd)
    assert ended.code == 3, ended
    assert ended.out.split()[:4] == ["box", "sleep", "60", "lrwxrwxrwx"] and "/bin/busybox" in ended.out and "/tmp" in ended.out
    assert first.wait().code == -9

"""Performs the plan of a container without a monitor: what the monitor does to start a command, and no more."""

import os
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.record import MountPoint, Record
from firkin.containers.planning.plan import ContainerPlan, Place, plan_container
from firkin.linux.idmap import IdMaps, IdRange, single_maps
from firkin.sandbox.parts import FOR_CONTAINERS

ID = "c0ffee" * 10 + "dead"


@dataclass
class Ended:
    """What a container did: its exit code, what it wrote, and the lines of the status pipe."""

    code: int
    out: str
    told: list[list[str]] = field(default_factory=list)

    @property
    def failure(self) -> str:
        return next((fields[2] for fields in self.told if fields[0] == "failed"), "")


class Running:
    """A command that was started by a plan."""

    plan: ContainerPlan

    def __init__(self, plan: Any, maps: dict[str, Any] | None, *, changes: dict[str, Any] | None = None,
                 joined: tuple[int, ...] = (), stdin: int = -1) -> None:  # fmt: skip
        self.output, output_end = os.pipe()
        status, status_end = os.pipe()
        self.channel, channel_end = socket.socketpair()
        self.terminal = -1
        parent = os.getpid()
        fork = os.fork()
        if fork == 0:
            names: dict[str, Any] = {}
            for path in FOR_CONTAINERS:
                code = SourceFileLoader(path, path).get_code(path)
                assert code is not None
                exec(code, names)
            names["contain"](
                plan, changes or {}, status_end, channel_end.fileno(), (stdin, output_end, output_end), joined, parent
            )
        os.close(output_end)
        os.close(status_end)
        channel_end.close()
        self.told = self._attend(fork, status, maps)
        os.close(status)
        os.waitpid(fork, 0)
        self.pid = next((int(fields[1]) for fields in self.told if fields[0] == "pid"), 0)

    def _attend(self, fork: int, status: int, maps: dict[str, Any] | None) -> list[list[str]]:
        poll = select.poll()
        poll.register(status, select.POLLIN)
        poll.register(self.channel, select.POLLIN)
        said = b""
        while True:
            ready = dict(poll.poll())
            if self.channel.fileno() in ready:
                message, found, _, _ = socket.recv_fds(self.channel, 1, 1)
                if message == b"u" and maps is not None:
                    write_maps(fork, maps)
                    self.channel.send(b"g")
                elif message == b"t":
                    self.terminal = found[0]
                    self.channel.send(b"g")
                else:
                    poll.unregister(self.channel)
            if status in ready:
                chunk = os.read(status, 4096)
                if not chunk:
                    return [line.split("\0") for line in said.decode("utf-8", "surrogateescape").splitlines()]
                said += chunk

    def wait(self) -> Ended:
        """Wait for the end, and return what was written."""
        out = b""
        source = self.output if self.terminal < 0 else self.terminal
        while True:
            try:
                chunk = os.read(source, 65536)
            except OSError:
                break
            if not chunk:
                break
            out += chunk
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) if self.pid else 125
        failed = next((int(fields[1]) for fields in self.told if fields[0] == "failed"), None)
        self.channel.close()
        os.close(self.output)
        return Ended(code if failed is None else failed, out.decode("utf-8", "replace"), self.told)


def write_maps(pid: int, maps: dict[str, Any]) -> None:
    """Write the maps of a user namespace, as the monitor does."""
    for kind, helper in (("uid", 0), ("gid", 1)):
        if maps["helpers"]:
            words = [str(number) for row in maps[kind] for number in row]
            subprocess.run([maps["helpers"][helper], str(pid), *words], check=True)
            continue
        if kind == "gid" and maps["deny_setgroups"]:
            with open(f"/proc/{pid}/setgroups", "w") as file:
                file.write("deny")
        with open(f"/proc/{pid}/{kind}_map", "w") as file:
            file.write("".join(f"{a} {b} {c}\n" for a, b, c in maps[kind]))


def make_record(argv: tuple[str, ...], trees: tuple[str, ...], *, mounts: tuple[MountPoint, ...] = (),
                config: Config | None = None, host: HostConfig | None = None) -> Record:  # fmt: skip
    """Return the record of a container; its network is none unless `host` says otherwise."""
    return Record(1, ID, "/test", "2026-01-01T00:00:00Z", "sha256:" + "0" * 64, config or Config(hostname="box"),
                  host or HostConfig(network_mode="none"), argv[0], argv[1:], trees, mounts)  # fmt: skip


def make_directory(place: str) -> str:
    """Make the directory of a container, as `create` does."""
    directory = f"{place}/{ID}"
    for name in ("upper", "work"):
        os.makedirs(f"{directory}/{name}")
    for name, text in (("hosts", "127.0.0.1\tlocalhost\n"), ("hostname", "box\n"), ("resolv.conf", "")):
        with open(f"{directory}/{name}", "w") as file:
            file.write(text)
    return directory


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

    def another(self) -> "Box":
        """Return a second container of the same image."""
        place = self.place / "another"
        place.mkdir()
        (place / "trees").symlink_to("../trees")
        return Box(place, self.maps)

    def start(self, *argv: str, **options: Any) -> Running:
        """Start a command."""
        plan = self.plan(*argv, **options)
        run = Running(plan.plan, plan.maps)
        run.plan = plan
        return run

    def run(self, *argv: str, **options: Any) -> Ended:
        """Run a command to its end."""
        plan = self.plan(*argv, **options)
        ended = Running(plan.plan, plan.maps).wait()
        assert ended.out or ended.code > 0, ended
        return ended


def contained_box(kind: str) -> Iterator[Box]:
    """Yield a container on busybox: as root, in a user namespace, and in one with a single id (MAPS has the kinds).

    Not in pytest's own directory: other runs close that to subordinate ids.
    """
    maps = MAPS[kind]
    tmp_path = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="firkin-contained-"))
    tmp_path.chmod(0o755)
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
    shutil.rmtree(tmp_path)
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line]

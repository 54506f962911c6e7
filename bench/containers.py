"""Containers beside runc, dockerd and podman: what a start, an exec, a monitor, a list and a line of log cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from builders import Docker, Podman
from measure import CommandFailed, Usage, wall_s
from workloads import Place, Row

IMAGE = "library/busybox:latest"
WARM_UP = 2
RUNNING = 20
LISTED = 500
LOG_BYTES = 200_000_000
SHORT, LONG = 80, 16 << 10
MEMORY_BAR = 6_000_000


@dataclass
class Engine:
    """Somebody who runs containers: `words` begin every command, `image` is the name of the image there."""

    name: str
    words: list[str]
    image: str
    environment: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()  # what its `run` needs where root may not raise limits

    def time(self, *words: object) -> float:
        return wall_s([*self.words, *map(str, words)], self.environment)

    def run(self, *words: object) -> str:
        done = subprocess.run([*self.words, *map(str, words)], env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise CommandFailed(f"{self.name} {' '.join(map(str, words))}: {done.stderr[-2000:]}")
        return done.stdout.strip()


def engines(place: Place) -> list[Engine]:
    """Return firkin first, then the daemons and engines that are here, each with the image."""
    remote = f"{place.registry}/{IMAGE}"
    own = place.own.firkin
    script = str(Path(sys.executable).with_name("firkin"))
    environment = {**own.environment(), "FIRKIN_ROOT": str(own.store)}
    found = [Engine("firkin", [script], remote, environment)]
    for peer in place.peers:
        if isinstance(peer, Docker):
            found.append(Engine("docker", [peer.client], remote, peer.environment))
        elif type(peer) is Podman:
            found.append(Engine("podman", [*peer._command(), "--cgroup-manager=cgroupfs"], remote, peer.environment,
                                ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")))  # fmt: skip
    ready = []
    for engine in found:
        extra = {"podman": ["--tls-verify=false"]}.get(engine.name, [])
        try:
            engine.run("pull", *extra, remote)
            engine.run("run", *engine.extra, "--rm", "--network", "none", remote, "true")
            ready.append(engine)
        except CommandFailed as error:
            if engine.name == "firkin":
                raise
            print(f"without {engine.name}: {error}", flush=True)
    return ready


class Runc:
    """runc alone, with a root that is there already: the floor of every start."""

    def __init__(self, place: Path, files: Path) -> None:
        self.place = place
        self.count = 0
        place.mkdir()
        subprocess.run(["runc", "spec"], cwd=place, check=True)
        spec = json.loads((place / "config.json").read_text())
        spec["process"].update(terminal=False, args=["true"])
        spec["root"] = {"path": str(files), "readonly": False}
        self.spec = spec
        self._write()

    def _write(self) -> None:
        (self.place / "config.json").write_text(json.dumps(self.spec))

    def words(self, *words: str) -> list[str]:
        return ["runc", "--root", f"{self.place}/state", *words]

    def run(self) -> float:
        self.count += 1
        return wall_s(self.words("run", "-b", str(self.place), f"firkin-bench-{os.getpid()}-{self.count}"))

    def start(self, stack: ExitStack) -> str:
        """Start one that sleeps; return its name."""
        name = f"firkin-bench-{os.getpid()}-sleeps"
        self.spec["process"]["args"] = ["sleep", "1000"]
        self._write()
        with open(os.devnull, "r+b") as null:
            subprocess.run(self.words("run", "-d", "-b", str(self.place), name), stdin=null, stdout=null, check=True)
        stack.callback(subprocess.run, self.words("delete", "--force", name), check=False)
        return name


def containers(place: Place) -> Iterator[Row]:
    """Every row of this workload."""
    there = engines(place)
    runc = _runc(place, there[0]) if os.geteuid() == 0 and shutil.which("runc") else None
    yield _run_row(place, there, runc)
    yield _exec_row(place, there, runc)
    yield from _memory_row(there[0])
    yield _list_row(place, there[0])
    yield from _log_rows(place, there)


def _runc(place: Place, own: Engine) -> Runc:
    """Unpack the image for runc, as a bundle does."""
    folder = place.root / "runc-root"
    folder.mkdir()
    archive = place.root / "runc-root.tar"
    name = own.run("create", own.image)
    own.run("export", "-o", archive, name)
    own.run("rm", name)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    return Runc(place.root / "runc-bundle", folder)


def _in_turn(place: Place, actions: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[Usage]]:
    """Run everybody in turn; the first rounds only warm up."""
    runs: dict[str, list[Usage]] = {name: [] for name in actions}
    for number in range(rounds + WARM_UP):
        for name, action in actions.items():
            seconds = action()
            if number >= WARM_UP:
                runs[name].append(_usage(seconds))
    return runs


def _usage(seconds: float, bytes: int = 0) -> Usage:
    return Usage(seconds, 0, bytes, bytes, 0, 0)


def _judged(what: str, runs: dict[str, list[Usage]], bars: dict[str, float]) -> Row:
    """Return a row whose bars say how many times a peer's time firkin may take."""
    row = Row("containers", what, runs)
    told = {name: 1 / row.ratio(name) for name in bars if runs.get(name)}
    bar = ", ".join(f"{bars[name]} x {name}" for name in told)
    note = ", ".join(f"{ratio:.2f} x {name}" for name, ratio in told.items())
    met = all(ratio <= bars[name] for name, ratio in told.items()) if told else None
    return Row("containers", what, runs, bar=bar, met=met, note=note)


def _run_row(place: Place, there: list[Engine], runc: Runc | None) -> Row:
    actions: dict[str, Callable[[], float]] = {
        engine.name: partial(engine.time, "run", *engine.extra, "--rm", "--network", "none", engine.image, "true")
        for engine in there
    }
    if runc is not None:
        actions["runc"] = runc.run
    runs = _in_turn(place, actions, 4 * place.rounds)
    return _judged("run --rm --network none", runs, {"runc": 1.5, "docker": 0.4, "podman": 0.4})


def _exec_row(place: Place, there: list[Engine], runc: Runc | None) -> Row:
    with ExitStack() as stack:
        actions: dict[str, Callable[[], float]] = {}
        for engine in there:
            name = engine.run("run", *engine.extra, "-d", "--network", "none", engine.image, "sleep", 1000)
            stack.callback(_removed, engine, name)
            actions[engine.name] = partial(engine.time, "exec", name, "true")
        if runc is not None:
            sleeper = runc.start(stack)
            actions["runc"] = lambda: wall_s(runc.words("exec", sleeper, "true"))
        return _judged("exec", _in_turn(place, actions, 4 * place.rounds), {"runc": 1.0})


def _memory_row(own: Engine) -> Iterator[Row]:
    names = []
    try:
        for _ in range(RUNNING):
            names.append(own.run("run", "-d", "--network", "none", own.image, "sleep", 1000))
        sizes = [_proportional(_parent(int(own.run("inspect", "-f", "{{.State.Pid}}", name)))) for name in names]
    finally:
        _removed(own, *names)
    usual = sorted(sizes)[len(sizes) // 2]
    yield Row(
        "containers", f"a monitor's memory, {RUNNING} running", {"firkin": [_usage(0, size) for size in sizes]},
        bar=f"{MEMORY_BAR / 1e6:.0f} MB", met=usual <= MEMORY_BAR, note=f"{usual / 1e6:.1f} MB",
    )  # fmt: skip


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _proportional(pid: int) -> int:
    """Return a proportional set size in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise CommandFailed(f"no sizes of {pid}")


def _list_row(place: Place, own: Engine) -> Row:
    have = len(own.run("ps", "-aq").splitlines())
    for _ in range(LISTED - have):
        own.run("create", own.image)
    version, times = [], []
    for _ in range(2 * place.rounds):
        version.append(own.time("--version"))
        times.append(own.time("ps", "-a"))
    own.run("container", "prune", "-f")
    ratio = sorted(time / floor for time, floor in zip(times, version, strict=True))[len(times) // 2]
    return Row("containers", f"ps, {LISTED} there", {"firkin": [_usage(seconds) for seconds in times]}, version,
               "10 x --version", ratio <= 10, f"{ratio:.1f} x")  # fmt: skip


def _log_rows(place: Place, there: list[Engine]) -> Iterator[Row]:
    for length in (SHORT, LONG):
        # busybox has no fast writer of short lines, so the lines come from a file.
        script = (
            f"head -c {length - 1} /dev/zero | tr '\\0' x >/l; echo >>/l; "
            f"i=0; while [ $i -lt {(1 << 20) // length} ]; do cat /l; i=$((i+1)); done >/m; "
            f"echo ready; i=0; while [ $i -lt {LOG_BYTES >> 20} ]; do cat /m; i=$((i+1)); done"
        )
        actions: dict[str, Callable[[], float]] = {
            engine.name: partial(_log_time, engine, script) for engine in there if engine.name != "podman"
        }
        runs = _in_turn(place, actions, place.rounds)
        yield _judged(f"log, {LOG_BYTES >> 20} MB in lines of {length} bytes", runs, {"docker": 1.0})


def _log_time(engine: Engine, script: str) -> float:
    begin = time.monotonic()
    name = engine.run("run", "-d", "--network", "none", "--log-driver", "json-file", engine.image, "sh", "-c", script)
    try:
        engine.run("wait", name)
        return time.monotonic() - begin
    finally:
        _removed(engine, name)


def _removed(engine: Engine, *names: str) -> None:
    """Remove containers; that it failed must not hide why the measurement did."""
    with suppress(CommandFailed):
        engine.run("rm", "-f", *names)

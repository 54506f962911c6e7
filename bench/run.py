"""Measure firkin against floors taken in the same run: `make bench`, or `make bench ARGS='start steps'`.

Machines are shared and noisy, so what counts are ratios and differences of runs taken in turn (A B A B …), medians.
Floors are GNU tar, pigz, coreutils and util-linux doing the same work. The base image of the workloads is made from
Debian packages once; a registry on loopback serves it and takes what is pushed.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support.accounts import Firkin, make_firkin, remove_tree
from support.registry import Registry, running_registry

HERE = Path(__file__).resolve().parent
BASE = "bench:bookworm"


class Peak:
    """The largest resident set of any firkin process while the block runs, sampled from /proc."""

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    with contextlib.suppress(OSError, ValueError):
                        command = Path(entry.path, "cmdline").read_bytes()
                        if b"firkin" in command and b"bench/run.py" not in command:
                            status = Path(entry.path, "status").read_text()
                            kilobytes = int(status.partition("VmHWM:")[2].split()[0])
                            self.bytes = max(self.bytes, kilobytes * 1024)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def median_pairs(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the medians of two actions measured in turn."""
    pairs = [(seconds(first), seconds(second)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def shell(script: str) -> None:
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, stdout=subprocess.DEVNULL)


def report(what: str, value: str, bar: str = "", met: bool | None = None) -> None:
    verdict = {None: "", True: "ok", False: "ABOVE THE BAR"}[met]
    print(f"{what:44} {value:34} {bar:24} {verdict}", flush=True)


class Bench:
    """What all measurements share: firkin, the workloads, the registry."""

    def __init__(self, place: Path, registry: Registry, rounds: int) -> None:
        self.place = place
        self.registry = registry
        self.rounds = rounds
        self.workloads = place / "workloads"
        self.count = 0
        subprocess.run([sys.executable, str(HERE / "make_workloads.py"), str(self.workloads)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", str(self.workloads)], check=True)

    def fresh(self) -> Firkin:
        """Return firkin with an empty store."""
        self.count += 1
        return make_firkin(
            "root" if os.geteuid() == 0 else "user", self.place / f"firkin-{self.count}", self.registry.url
        )

    def build(self, firkin: Firkin, workload: str, *options: str) -> None:
        firkin.run(
            "build",
            "--progress",
            "plain",
            "--build-arg",
            f"BASE={BASE}",
            *options,
            self.workloads / workload,
            timeout=900,
        )

    def push_name(self, workload: str) -> str:
        self.count += 1
        return self.registry.reference(f"bench/{workload}-{self.count}:1")

    @contextlib.contextmanager
    def warm(self) -> Iterator[Firkin]:
        """Yield firkin with a store of its own, and remove it afterwards."""
        firkin = self.fresh()
        yield firkin
        remove_tree(firkin.place)


def start(bench: Bench) -> None:
    firkin = bench.fresh()
    environment = firkin.environment()

    def run(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([*arguments], check=True, stdout=subprocess.DEVNULL, env=environment)

    python = firkin.command("-")[0]
    script = Path(sys.executable).with_name("firkin")
    bare, version = median_pairs(run(python, "-c", "pass"), run(str(script), "--version"), 4 * bench.rounds)
    report(
        "firkin --version over a bare interpreter",
        f"+{(version - bare) * 1e3:.1f} ms",
        "<= +15 ms",
        version - bare <= 0.015,
    )


def cached(bench: Bench) -> None:
    with bench.warm() as firkin:
        bench.build(firkin, "steps")
        python = firkin.command("-")[0]
        bare, again = median_pairs(
            lambda: subprocess.run([python, "-c", "pass"], check=True),
            lambda: bench.build(firkin, "steps"),
            bench.rounds,
        )
        report(
            "build, everything cached, over bare",
            f"+{(again - bare) * 1e3:.0f} ms",
            "<= +110 ms",
            again - bare <= 0.110,
        )


def steps(bench: Bench) -> None:
    with bench.warm() as firkin:
        bench.build(firkin, "static")  # the base is unpacked
        bench.build(firkin, "steps")
        root = bench.place / "floor-root"
        _unpack_base(bench, root)
        floor = f"for i in $(seq 60); do unshare -m chroot {root} /bin/sh -c 'echo x > /step'; done"
        bare, built = median_pairs(
            lambda: shell(floor), lambda: bench.build(firkin, "steps", "--no-cache"), max(3, bench.rounds // 2)
        )
        report("steps: 60 RUN steps", f"{built:.2f} s", "<= 3 s", built <= 3)
        report(
            "  a step, over unshare and chroot",
            f"+{(built - bare) / 60 * 1e3:.1f} ms",
            "<= +40 ms",
            (built - bare) / 60 <= 0.040,
        )


def _layers(bench: Bench) -> list[Path]:
    blobs = bench.registry.storage / "docker/registry/v2/blobs/sha256"
    found = []
    for layer in bench.registry.manifest(f"library/{BASE}")["layers"]:
        value = layer["digest"].partition(":")[2]
        found.append(blobs / value[:2] / value / "data")
    return found


def _unpack_base(bench: Bench, root: Path) -> None:
    if not root.exists():
        root.mkdir(mode=0o755)
        for layer in _layers(bench):
            shell(f"pigz -dc {layer} | tar x -C {root}")


def layer_in(bench: Bench) -> None:
    """Pull and unpack the base, against pigz and tar on the same blobs."""
    context = bench.place / "layer-in"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM {BASE}\nRUN true\n")
    floors, times, peaks = [], [], []
    for number in range(max(3, bench.rounds // 2)):
        root = bench.place / f"in-{number}"
        floors.append(seconds(lambda root=root: _unpack_base(bench, root)))  # type: ignore[misc]
        shutil.rmtree(root)
        with bench.warm() as firkin, Peak() as peak:
            times.append(seconds(lambda firkin=firkin: firkin.run("build", context)))  # type: ignore[misc]
        peaks.append(peak.bytes)
    floor, time_s = statistics.median(floors), statistics.median(times)
    report(
        "layer in: pull, verify, unpack, RUN true",
        f"{time_s:.2f} s, floor {floor:.2f} s",
        "<= the floor",
        time_s <= floor,
    )
    report("  peak resident", f"{max(peaks) / 1e6:.0f} MB", "<= 150 MB", max(peaks) <= 150e6)


def bulk(bench: Bench) -> None:
    """One layer of 1 GiB: RUN writes it, export compresses it."""
    with bench.warm() as firkin:
        with Peak() as peak:
            whole = seconds(lambda: bench.build(firkin, "bulk"))
            export = seconds(
                lambda: bench.build(firkin, "bulk", "--output", f"type=oci,tar=false,dest={firkin.place}/out")
            )
        report("bulk: RUN that writes 1 GiB", f"{whole:.2f} s")
        report("  export to a layout", f"{export:.2f} s", "<= 2.5 s", export <= 2.5)
        report("  peak resident", f"{peak.bytes / 1e6:.0f} MB", "<= 150 MB", peak.bytes <= 150e6)


def layer_out(bench: Bench) -> None:
    """A COPY of 22,000 files to a layer blob, against tar, pigz and sha256sum."""
    source = bench.place / "layer-out" / "files"
    source.parent.mkdir(exist_ok=True)
    if not source.exists():
        subprocess.run([sys.executable, str(bench.workloads / "service/generate.py"), "20000", str(source)], check=True)
        shutil.copytree(bench.workloads / "service/src", source / "src")
        (source.parent / "Dockerfile").write_text("FROM scratch\nCOPY files /files\n")
    floors, times = [], []
    for _ in range(max(3, bench.rounds // 2)):
        floors.append(seconds(lambda: shell(f"tar c -C {source} . | pigz -1 | tee >(sha256sum) | wc -c")))
        with bench.warm() as firkin:
            output = f"type=oci,tar=false,dest={firkin.place}/out"
            times.append(seconds(lambda f=firkin, o=output: f.run("build", "-o", o, source.parent)))  # type: ignore[misc]
    floor, time_s = statistics.median(floors), statistics.median(times)
    report(
        "layer out: COPY of 22,000 files, export",
        f"{time_s:.2f} s, floor {floor:.2f} s",
        "<= the floor",
        time_s <= floor,
    )


def service(bench: Bench) -> None:
    """Two stages, 22,000 files: cold with push, and again with nothing changed."""
    with bench.warm() as firkin:
        with Peak() as peak:
            cold = seconds(lambda: bench.build(firkin, "service", "-t", bench.push_name("service"), "--push"))
        name = bench.push_name("service")
        bench.build(firkin, "service", "-t", name, "--push")
        again = statistics.median(
            seconds(lambda: bench.build(firkin, "service", "-t", name, "--push")) for _ in range(bench.rounds)
        )
        report("service: cold, base not local, pushed", f"{cold:.2f} s", "<= 10 s", cold <= 10)
        report("  peak resident", f"{peak.bytes / 1e6:.0f} MB", "<= 150 MB", peak.bytes <= 150e6)
        report("  nothing changed, pushed", f"{again * 1e3:.0f} ms", "<= 150 ms", again <= 0.150)


def static(bench: Bench) -> None:
    """2,000 files onto a base that stays in the registry."""
    times = []
    for _ in range(bench.rounds):
        with bench.warm() as firkin:
            times.append(
                seconds(
                    lambda f=firkin: bench.build(  # type: ignore[misc]
                        f, "static", "-t", bench.push_name("static"), "--push"
                    )
                )
            )
    time_s = statistics.median(times)
    report("static: base only in the registry, pushed", f"{time_s:.2f} s", "<= 0.6 s", time_s <= 0.6)


MEASUREMENTS = {
    action.__name__.replace("_", "-"): action
    for action in (start, cached, steps, static, layer_out, layer_in, bulk, service)
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure firkin against floors taken in the same run.")
    parser.add_argument("what", nargs="*", help=f"any of {', '.join(MEASUREMENTS)}; all without")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    unknown = set(arguments.what) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"unknown measurement: {', '.join(sorted(unknown))}")
    place = Path(tempfile.mkdtemp(prefix="firkin-bench-"))
    place.chmod(0o755)
    try:
        with running_registry() as registry:
            registry.seed_bases("bench", "busybox")
            bench = Bench(place, registry, arguments.rounds)
            for name in arguments.what or MEASUREMENTS:
                MEASUREMENTS[name](bench)
    finally:
        remove_tree(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())

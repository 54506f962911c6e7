"""What is measured: one function a workload, each of which yields rows.

A row compares runs taken in turn. `bar` is a limit that firkin promises; `floor` is the same work by GNU tar, pigz,
coreutils or util-linux. Nothing is removed before the end: a file system without a journal makes files slowly for a
minute after many were removed, which would hit whoever comes next.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from builders import Builder, CommandFailed, OwnBuilder
from measure import Usage, measure, median, wall_s
from support.bases import ensure_base
from support.registry import running_registry

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Row:
    """One line of the result. `runs` has the figures of each builder, firkin's first; `floors` seconds of floors."""

    workload: str
    what: str
    runs: dict[str, list[Usage]]
    floors: list[float] = field(default_factory=list)
    bar: str = ""
    met: bool | None = None
    note: str = ""

    def medians(self) -> dict[str, Usage]:
        return {name: median(runs) for name, runs in self.runs.items() if runs}

    def ratio(self, name: str) -> float:
        """Return how many times firkin's wall time a peer took: the median of the rounds both ran in."""
        pairs = zip(self.runs[name], self.runs["firkin"], strict=False)
        return statistics.median(theirs.wall_s / own.wall_s for theirs, own in pairs)


class Place:
    """Where the workloads, the stores and the registry are, and how much time there is."""

    def __init__(
        self, root: Path, registry: str, layers: list[Path], base: str, own: OwnBuilder, peers: list[Builder],
        rounds: int, peer_budget_s: float, deadline: float,
    ) -> None:  # fmt: skip
        self.root = root
        self.registry = registry
        self.layers = layers
        self.base = base
        self.own = own
        self.peers = peers
        self.rounds = rounds
        self.peer_budget_s = peer_budget_s
        self.deadline = deadline
        self.count = 0
        self._unpacked: set[tuple[str, int]] = set()
        self.contexts = root / "workloads"
        subprocess.run([sys.executable, str(HERE / "make_workloads.py"), str(self.contexts)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", str(self.contexts)], check=True)

    def unpack_base(self, builder: Builder) -> None:
        """See to it that a builder has the base unpacked in its store of now."""
        if (builder.name, builder.stores) not in self._unpacked:
            context = self.root / "unpack-base"
            context.mkdir(exist_ok=True)
            (context / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN true\n")
            builder.build(context)
            self._unpacked.add((builder.name, builder.stores))

    def number(self) -> int:
        self.count += 1
        return self.count

    def push_name(self, workload: str, builder: Builder) -> str:
        return f"{self.registry}/bench/{workload}-{builder.name}-{self.number()}:1"

    def copy(self, workload: str) -> Path:
        """Return a context with new files: same content but for one, other inodes and times."""
        number = self.number()
        context = self.root / f"context-{workload}-{number}"
        shutil.copytree(self.contexts / workload, context)
        edit(context)
        return context

    def in_turn(
        self,
        action: Callable[[Builder], Usage],
        prepare: Callable[[Builder], object] = lambda builder: None,
        floor: Callable[[], float] | None = None,
        rounds: int = 0,
    ) -> tuple[dict[str, list[Usage]], list[float]]:
        """Run an action by everybody in turn, as often as there are rounds; slow peers less often, but once."""
        builders = [self.own, *self.peers]
        runs: dict[str, list[Usage]] = {builder.name: [] for builder in builders}
        spent = dict.fromkeys(runs, 0.0)
        floors = []
        for _ in range(rounds or self.rounds):
            if floor is not None:
                floors.append(floor())
            for builder in builders:
                own = builder is self.own
                used = spent[builder.name]
                if not own and (used > self.peer_budget_s or time.monotonic() + used > self.deadline):
                    continue
                begin = time.monotonic()
                try:
                    prepare(builder)
                    runs[builder.name].append(action(builder))
                except CommandFailed as error:
                    if own:
                        raise
                    print(f"{builder.name} takes no part: {error}", file=sys.stderr)
                    spent[builder.name] = self.peer_budget_s + 1
                spent[builder.name] += time.monotonic() - begin
        return runs, floors


def edit(context: Path) -> None:
    """Change one source file, in a way that no builder has seen."""
    with open(next((context / "src").glob("*/m0.js")), "a") as file:
        file.write(f"// {time.time_ns()}\n")


def seconds_of(runs: dict[str, list[Usage]]) -> float:
    return statistics.median(run.wall_s for run in runs["firkin"])


def largest_process(runs: dict[str, list[Usage]]) -> int:
    return max(run.process_bytes for run in runs["firkin"])


def timed_shell(script: str) -> float:
    return wall_s(["bash", "-euo", "pipefail", "-c", script])


def only_own(runs: list[Usage]) -> dict[str, list[Usage]]:
    return {"firkin": runs}


# --- start -----------------------------------------------------------------------------------------------------------


def start(place: Place) -> Iterator[Row]:
    """The interpreter, `--version`, and a build in which everything is cached."""
    own = place.own
    python, script = own.firkin.command("-")[0], Path(sys.executable).with_name("firkin")
    count = 4 * place.rounds
    bare, version, cached = [], [], []
    own.build(place.contexts / "steps")
    command = own.command(place.contexts / "steps")
    for _ in range(count):
        bare.append(wall_s([python, "-I", "-c", "pass"]))
        version.append(wall_s([str(script), "--version"], own.environment))
        cached.append(wall_s(command, own.environment))
    for what, times, bar in (("firkin --version", version, 0.015), ("60 cached steps, no output", cached, 0.110)):
        more = statistics.median(times) - statistics.median(bare)
        yield Row(
            "start",
            what,
            only_own([Usage(t, 0, 0, 0, 0, 0) for t in times]),
            bare,
            f"+{bar * 1e3:.0f} ms over the floor",
            more <= bar,
            f"+{more * 1e3:.1f} ms",
        )


# --- service ---------------------------------------------------------------------------------------------------------


def service(place: Place) -> Iterator[Row]:
    """Two stages, a base of 37,000 files, 22,000 files of its own: cold, unchanged, one file edited. Always pushed."""
    context = place.copy("service")
    names: dict[str, str] = {}

    def empty(builder: Builder) -> None:
        builder.fresh()
        names[builder.name] = place.push_name("service", builder)

    def build(builder: Builder) -> Usage:
        return builder.build(context, names[builder.name])

    runs, _ = place.in_turn(build, empty)
    yield Row("service", "cold, base not local, pushed", runs, bar="<= 10 s", met=seconds_of(runs) <= 10)
    again, _ = place.in_turn(build)
    time_s, peak = seconds_of(again), largest_process(again)
    yield Row(
        "service", "nothing changed, pushed", again, bar="<= 150 ms, 60 MB", met=time_s <= 0.150 and peak <= 60e6
    )
    # The same edit for everybody, a new one each round.
    edited, _ = place.in_turn(build, lambda builder: edit(context) if builder is place.own else None)
    yield Row("service", "one file edited, pushed", edited)


# --- static ----------------------------------------------------------------------------------------------------------


def static(place: Place) -> Iterator[Row]:
    """2,000 files onto a base that was seen before: peers have it unpacked, firkin knows its index only."""
    small = place.root / "small"
    small.mkdir()
    (small / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY file /\n")
    (small / "file").write_text("x")
    own = place.own

    def know_base(builder: Builder) -> None:
        if builder is own or not seen.get(builder.name):
            builder.fresh()
            builder.build(small, place.push_name("small", builder))
            seen[builder.name] = True
        if builder is own:
            forget_blobs(own, place.layers)

    seen: dict[str, bool] = {}
    runs, _ = place.in_turn(
        lambda builder: builder.build(place.copy("static"), place.push_name("static", builder)), know_base
    )
    yield Row("static", "new files, base in the registry only", runs, bar="<= 0.6 s", met=seconds_of(runs) <= 0.6)
    first = []
    for _ in range(min(3, place.rounds)):
        own.fresh()
        first.append(own.build(place.copy("static"), place.push_name("static", own)))
    yield Row("static", "base never seen", only_own(first), note="its index is made while it passes")


def forget_blobs(own: OwnBuilder, layers: list[Path]) -> None:
    """Remove the base's layers from firkin's store, but not what is known about them."""
    for layer in layers:
        own.firkin.store.joinpath("oci/blobs/sha256", layer.parent.name).unlink(missing_ok=True)
    assert not list(own.firkin.store.glob("trees/*/fs/usr")), "the base was unpacked"


# --- bulk ------------------------------------------------------------------------------------------------------------


def bulk(place: Place) -> Iterator[Row]:
    """A RUN that writes 1 GiB: the whole build, and what of it is the export, to the registry and to an archive."""
    data = place.root / "bulk-data"
    subprocess.run([sys.executable, str(place.contexts / "bulk/bulk.py"), str(data)], check=True)
    own = place.own
    pushes: list[float] = []
    archives: list[float] = []

    def build(builder: Builder) -> Usage:
        usage = builder.build(place.contexts / "bulk", place.push_name("bulk", builder), cache=False)
        if builder is own:
            pushes.append(usage.wall_s - _until_last_step(own.output))
            archive = place.root / f"bulk-{place.number()}.tar"
            again = own.build(place.contexts / "bulk", archive=archive, cache=False)
            archives.append(again.wall_s - _until_last_step(own.output))
        return usage

    floor = f"tar c -C {data} . | pigz -1 | tee >(sha256sum) | wc -c"
    runs, floors = place.in_turn(build, place.unpack_base, lambda: timed_shell(floor), min(3, place.rounds))
    peak = largest_process(runs)
    yield Row("bulk", "RUN writes 1 GiB, pushed", runs, bar="<= 150 MB a process", met=peak <= 150e6)
    export = statistics.median(archives)
    yield Row(
        "bulk",
        "  its export alone, as an archive",
        only_own([Usage(t, 0, 0, 0, 0, 0) for t in archives]),
        floors,
        "<= 2.5 s, the floor",
        export <= min(2.5, statistics.median(floors)),
    )
    push = statistics.median(pushes)
    yield Row(
        "bulk",
        "  its export and push",
        only_own([Usage(t, 0, 0, 0, 0, 0) for t in pushes]),
        floors,
        "<= the floor",
        push <= statistics.median(floors),
    )


def _until_last_step(output: str) -> float:
    """Return the seconds from the first event of a build to the end of its last step, from its event stream."""
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    times = [event["time"] for event in events if "time" in event]
    steps = {vertex["id"] for event in events if event["event"] == "planned" for vertex in event["vertices"]
             if vertex.get("number")}  # fmt: skip
    ends = [event["time"] for event in events if event["event"] == "finished" and event["id"] in steps]
    return float(max(ends) - min(times))


# --- steps -----------------------------------------------------------------------------------------------------------


def steps(place: Place) -> Iterator[Row]:
    """60 RUN steps on an unpacked base, against the same commands under unshare and chroot."""
    context = place.contexts / "steps"
    floor: Callable[[], float] | None = None
    if os.geteuid() == 0:
        root = unpacked_base(place)
        script = f"for i in $(seq 60); do unshare -m chroot {root} /bin/sh -c 'echo x > /step'; done"
        floor = lambda: timed_shell(script)  # noqa: E731
    runs, floors = place.in_turn(lambda builder: builder.build(context, cache=False), place.unpack_base, floor)
    time_s = seconds_of(runs)
    extra = (time_s - (statistics.median(floors) if floors else 0)) / 60 * 1e3
    yield Row("steps", "60 RUN steps", runs, floors, "<= 3 s, +40 ms a step", time_s <= 3 and extra <= 40,
              f"+{extra:.1f} ms a step")  # fmt: skip


# --- stages ----------------------------------------------------------------------------------------------------------


def stages(place: Place) -> Iterator[Row]:
    """Two stages that need nothing of each other, a second each, against one of them."""
    head = "ARG BASE\nFROM ${BASE} AS one\nRUN sleep 1; echo one > /one\n"
    one, two = place.root / "one-stage", place.root / "two-stages"
    for context, text in (
        (one, head + "FROM scratch\nCOPY --from=one /one /\n"),
        (two, head + "FROM ${BASE} AS two\nRUN sleep 1; echo two > /two\n"
              "FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n"),
    ):  # fmt: skip
        context.mkdir()
        (context / "Dockerfile").write_text(text)
    runs, floors = place.in_turn(
        lambda builder: builder.build(two, cache=False),
        place.unpack_base,
        lambda: place.own.build(one, cache=False).wall_s,
        min(3, place.rounds),
    )
    ratio = seconds_of(runs) / statistics.median(floors)
    yield Row("stages", "two that are independent", runs, floors, "<= 1.25 of one", ratio <= 1.25,
              f"{ratio:.2f} of one stage")  # fmt: skip


def unpacked_base(place: Place) -> Path:
    root = place.root / "unpacked-base"
    if not root.exists():
        root.mkdir(mode=0o755)
        for layer in place.layers:
            timed_shell(f"pigz -dc {layer} | tar x -C {root}")
    return root


# --- layers ----------------------------------------------------------------------------------------------------------


def layers(place: Place) -> Iterator[Row]:
    """Layers out and in without a build around them (bench_layer.py); and the base, pulled and unpacked by a build."""
    figures = place.root / "layers.json"
    subprocess.run(
        [sys.executable, str(HERE / "bench_layer.py"), "--pairs", str(min(3, place.rounds)), "--place", str(place.root),
         "--json", str(figures)], stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    for found in json.loads(figures.read_text()):
        usage = Usage(found["firkin_s"], 0, 0, found["peak_mib"] << 20, 0, 0)
        what, ratio = f"{found['way']}: {found['files']:,} files ({found['tree']})", found["ratio"]
        yield Row("layers", what, only_own([usage]), [found["floor_s"]], "<= the floor", ratio <= 1,
                  f"{ratio:.2f} of the floor")  # fmt: skip
    own = place.own
    context = place.root / "layer-in"
    context.mkdir()
    (context / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN true\n")
    runs, floors = [], []
    for number in range(min(3, place.rounds)):
        root = place.root / f"layer-in-{number}"
        root.mkdir()
        floors.append(sum(timed_shell(f"pigz -dc {layer} | tar x -C {root}") for layer in place.layers))
        own.fresh()
        runs.append(own.build(context))
    ratio = statistics.median(run.wall_s / floor for run, floor in zip(runs, floors, strict=True))
    peak = largest_process(only_own(runs))
    yield Row("layers", "the base: pull, verify, unpack, RUN true", only_own(runs), floors, "<= the floor, 150 MB",
              ratio <= 1 and peak <= 150e6, f"{ratio:.2f} of the floor")  # fmt: skip


# --- files -----------------------------------------------------------------------------------------------------------


def files(place: Place) -> Iterator[Row]:
    """Nothing changed in a context of 1,000, 10,000 and 100,000 files: about one stat a file."""
    own = place.own
    own.fresh()
    for count in (1_000, 10_000, 100_000):
        context = place.root / f"files-{count}"
        for number in range(count):
            folder = context / f"src/d{number // 500}"
            if number % 500 == 0:
                folder.mkdir(parents=True)
            (folder / f"f{number}").write_bytes(b"%d" % number)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY src /src\n")
        own.build(context)
        time.sleep(2.1)  # what changed in the last two seconds is read again, not trusted
        own.build(context)
        runs = [own.build(context) for _ in range(place.rounds)]
        floors = [wall_s(["find", str(context), "-newermt", "2100-01-01"]) for _ in range(place.rounds)]
        yield Row("files", f"nothing changed, {count:,} files", only_own(runs), floors,
                  note=f"{(seconds_of(only_own(runs))) / count * 1e6:.1f} us a file, start included")  # fmt: skip


# --- copies ----------------------------------------------------------------------------------------------------------


def copies(place: Place) -> Iterator[Row]:
    """The base from one registry to another that has nothing of it, against skopeo."""
    runs: dict[str, list[Usage]] = {"firkin": [], "skopeo": []}
    with running_registry() as other:

        def once(name: str, command: list[str], environment: dict[str, str] | None) -> None:
            shutil.rmtree(other.storage / "docker", ignore_errors=True)
            runs[name].append(measure(command, environment)[0])

        theirs = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
        for _ in range(place.rounds):
            target = other.reference(f"bench/copy-{place.number()}:1")
            once("firkin", place.own.firkin.command("copy", "-q", place.base, target), place.own.environment)
            if shutil.which("skopeo"):
                once("skopeo", [*theirs, f"docker://{place.base}", f"docker://{target}"], None)
    row = Row("copies", "the base, registry to registry", runs)
    ratio, peak = 1 / row.ratio("skopeo") if runs["skopeo"] else 0.0, largest_process(runs)
    yield replace(row, bar="<= 0.7 of skopeo, 150 MB", met=ratio <= 0.7 and peak <= 150e6,
                  note=f"{ratio:.2f} of skopeo")  # fmt: skip


# --- explore ---------------------------------------------------------------------------------------------------------


def explore(place: Place) -> Iterator[Row]:
    """The files of the base, which is in a registry only: every layer is read once, whatever is asked afterwards."""
    own = place.own
    first, again, cats, floors = [], [], [], []
    for _ in range(place.rounds):
        floors.append(sum(timed_shell(f"pigz -dc {layer} | tar t > {place.root}/names") for layer in place.layers))
        own.fresh()
        first.append(measure(own.firkin.command("ls", "-R", place.base), own.environment)[0])
        cats.append(measure(own.firkin.command("cat", place.base, "/etc/os-release"), own.environment)[0])
        forget_blobs(own, place.layers)
        again.append(measure(own.firkin.command("ls", "-R", place.base), own.environment)[0])
        blobs = [own.firkin.store / "oci/blobs/sha256" / layer.parent.name for layer in place.layers]
        assert not any(blob.exists() for blob in blobs), "a layer was read twice"
    peak = largest_process(only_own(first))
    yield Row("explore", "ls -R of an image in a registry", only_own(first), floors, "150 MB", peak <= 150e6)
    yield Row("explore", "ls -R again, no layer read", only_own(again), bar="<= 0.5 of the first",
              met=seconds_of(only_own(again)) <= 0.5 * seconds_of(only_own(first)))  # fmt: skip
    yield Row("explore", "cat of a file of it", only_own(cats))


# --- archives --------------------------------------------------------------------------------------------------------


def archives(place: Place) -> Iterator[Row]:
    """The base as an archive for docker, and back into an empty store, against skopeo from and to a layout."""
    if shutil.which("skopeo") is None:
        return
    own = place.own
    layout, archive = ensure_base("bench"), place.root / "base.tar"
    own.fresh()
    filled = own.firkin
    own.run(filled.command("load", "-i", layout, "-t", "base:1"))
    skopeo = ["skopeo", "--insecure-policy", "copy", "-q"]
    saves: dict[str, list[Usage]] = {"firkin": [], "skopeo": []}
    loads: dict[str, list[Usage]] = {"firkin": [], "skopeo": []}
    for number in range(min(3, place.rounds)):
        theirs = place.root / f"skopeo-{number}.tar"
        saves["firkin"].append(own.run(filled.command("save", "-o", archive, "base:1")))
        saves["skopeo"].append(own.run([*skopeo, f"oci:{layout}:bookworm", f"docker-archive:{theirs}:base:1"]))
        own.fresh()
        loads["firkin"].append(own.run(own.firkin.command("load", "-i", archive)))
        loads["skopeo"].append(own.run([*skopeo, f"docker-archive:{archive}", f"dir:{place.root}/skopeo-{number}"]))
        own.fresh()
        loads["firkin"].append(own.run(own.firkin.command("load", "-i", theirs)))
        loads["skopeo"].append(own.run([*skopeo, f"docker-archive:{theirs}", f"dir:{place.root}/skopeo-dir-{number}"]))
    size = f"a base of {sum(layer.stat().st_size for layer in place.layers) / 1e6:.0f} MB"
    gzip, plain = ({name: usages[start::2] for name, usages in loads.items()} for start in (0, 1))
    for what, runs in ((f"save {size}", saves), (f"load {size}", gzip), ("load it, layers as tars", plain)):
        row = Row("archives", what, runs, bar="<= 0.7 of skopeo, 150 MB")
        ratio = 1 / row.ratio("skopeo")
        met = ratio <= 0.7 and largest_process(runs) <= 150e6
        yield replace(row, met=met, note=f"{ratio:.2f} of skopeo")


WORKLOADS: dict[str, Callable[[Place], Iterator[Row]]] = {
    action.__name__: action
    for action in (start, service, static, steps, stages, bulk, layers, files, copies, explore, archives)
}

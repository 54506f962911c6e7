"""The services of a build on a store of its own, and graphs of a few steps: for tests of the engine, without root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.context.views import Matcher, MemoryView
from firkin.builder.copy.content import FileDigests
from firkin.builder.copy.plan import CopyTools
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.graph.key import CacheKey
from firkin.builder.graph.ops import Git, Http, Op
from firkin.builder.graph.step import Graph, ImagePlan, Step, StepId, StepMeta
from firkin.builder.request import RunOptions
from firkin.builder.solve.engine import Engine, Sources
from firkin.builder.solve.result import Files, Result
from firkin.builder.solve.services import RunSettings, Runtime, Services
from firkin.builder.solve.view_files import read_content
from firkin.builder.solve.wanted import plan_wanted
from firkin.content.format import LayerFormat
from firkin.content.layers import open_layers
from firkin.content.snapshot import LayerRef
from firkin.errors import HostError
from firkin.layer.change import Entry
from firkin.oci.config import RuntimeConfig
from firkin.oci.descriptor import Descriptor
from firkin.oci.platform import Platform
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools


class NoBlobs:
    """A fetcher of layers that has no registry."""

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        raise AssertionError(f"nothing is to be fetched: {origin}")


def no_runtime() -> Runtime:
    raise HostError("no RUN here")


@contextmanager
def open_services(place: Path, **changes: Any) -> Iterator[Services]:
    """Yield services over the store at `place`; `emit` adds to the list `events` if one is given."""
    events: list[object] = changes.pop("events", [])
    clock: Callable[[], float] = changes.pop("clock", lambda: 1e6)
    stop = Cancel()
    pools = Pools(2, 2, 2)
    stop_fd = os.eventfd(0)
    try:
        with Store(str(place), clock) as store:
            services = Services(
                store=store,
                records=StepRecords(store),
                layers=open_layers(store, pools, NoBlobs(), events.append, stop, clock, owner_free=True),
                pools=pools,
                tools=CopyTools(
                    read_content, lambda _: None, lambda patterns: cast(Matcher, IgnoreMatcher(patterns)), print
                ),
                file_digests=FileDigests(None, 0),
                run=RunSettings(RunOptions(), {}, {}, b""),
                runtime=no_runtime,
                remote=None,
                emit=events.append,
                clock=clock,
                stop=stop,
                stop_fd=stop_fd,
            )
            yield msgspec.structs.replace(services, **changes)
    finally:
        pools.close(RuntimeError("over"))
        os.close(stop_fd)


def files(mtime_s: int = 1, **contents: str) -> Files:
    """Return a context of files by name, in which `_` stands for `.`."""
    named = {name.replace("_", "."): content.encode() for name, content in contents.items()}
    entries = {
        name: Entry("file", 0o644, 0, 0, len(content), mtime_s * 10**9) for name, content in named.items()
    }
    return Files(MemoryView({"": Entry("dir", 0o755, 0, 0, 0, mtime_s * 10**9), **entries}, named))


def step(number: int, op: Op, *inputs: int, no_cache: bool = False, **meta: Any) -> Step:
    """Return a step whose title is its number."""
    about = StepMeta(f"step {number}", "stage", number, no_cache=no_cache, **meta)
    return Step(StepId(number), op, tuple(map(StepId, inputs)), about)


def graph(*steps: Step, target: int | None = None) -> Graph:
    """Return a graph with one target, the last step unless another is named."""
    last = StepId(len(steps) - 1 if target is None else target)
    return Graph(steps, (ImagePlan(last, Platform("linux", "amd64"), RuntimeConfig(), ()),))


class OtherCaches:
    """Stands in for the caches of a build: knows layers by key, and records what is asked and added."""

    def __init__(self, services: Services, layers: dict[str, str] | None = None) -> None:
        self._records = services.records
        self.layers = {} if layers is None else layers
        self.asked_ahead: list[str] = []
        self.looked: list[str] = []
        self.added: list[tuple[str, bool, bool]] = []
        self.makers: list[Callable[[str], None]] = []

    def reads(self, op: Op) -> bool:
        return True

    def asked(self, key: str) -> bool:
        return key in self.asked_ahead

    def ask(self, op: Op, key: str) -> None:
        self.asked_ahead.append(key)

    def find(
        self, op: Op, key: CacheKey, parts: Any, slot: str, form: LayerFormat, make: Callable[[str], None]
    ) -> StepRecord | None:
        self.looked.append(key)
        if key not in self.layers:
            return None
        self.makers.append(make)
        record = StepRecord(key, self.layers[key], slot, "", parts, 5.0, 1.0)
        self._records.remember(record)
        return record

    def add(
        self, op: Op, record: StepRecord, layer: LayerRef, first: LayerFormat, *, exported: bool, fresh: bool
    ) -> None:
        self.added.append((record.key, exported, fresh))


class Build:
    """One build of a graph: its engine, and how each step got its result.

    `how` maps a step to "ready", "found", "found late" or "made". The steps run one after another.
    """

    def __init__(
        self, services: Services, made: Graph, contexts: dict[str, Files], *, slot: str = "D",
        formats: tuple[LayerFormat, ...] = (), whole_files: bool = False, **options: Any
    ) -> None:  # fmt: skip
        self.services = services
        self.graph = made
        self.wanted = plan_wanted(made, formats, whole_files=whole_files)
        self.fetched: list[str] = []
        self.engine = Engine(services, Sources(contexts, self._fetch), made, self.wanted, slot, **options)
        self.results: dict[StepId, Result] = {}
        self.how: dict[int, str] = {}

    def _fetch(self, op: Http | Git, vertex: str) -> Files:
        self.fetched.append(vertex)
        return files(download="x")

    def inputs(self, number: int) -> tuple[Result, ...]:
        return tuple(self.results[step_id] for step_id in self.graph.steps[number].inputs)

    def run(self, until: int | None = None) -> Build:
        """Run the steps up to one of them, or all."""
        for one in self.graph.needed():
            if until is not None and one.id > until:
                break
            if one.id not in self.results:
                self.results[one.id] = self._result(one)
        return self

    def _result(self, one: Step) -> Result:
        inputs = self.inputs(one.id)
        result = self.engine.look_up(one, inputs)
        if result is not None:
            self.how[one.id] = "found" if one.inputs else "ready"
            return result
        self.engine.fetch(one, inputs)
        result = self.engine.execute(one, inputs)
        self.how[one.id] = "found late" if self.engine.was_found(one) else "made"
        return result

"""The services of a build over a store of its own, and graphs of a few steps: for tests of the engine, without root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from firkin.builder.cache.records import StepRecords
from firkin.builder.context.views import MemoryView
from firkin.builder.copy.content import FileDigests
from firkin.builder.copy.plan import CopyTools, Matcher
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.graph.ops import Op
from firkin.builder.graph.step import Graph, ImagePlan, Step, StepId, StepMeta
from firkin.builder.request import RunOptions
from firkin.builder.solve.result import Files
from firkin.builder.solve.services import RunSettings, Runtime, Services
from firkin.builder.solve.view_files import read_content
from firkin.content.layers import open_layers
from firkin.errors import HostError
from firkin.layer.change import Entry
from firkin.oci.config import RuntimeConfig
from firkin.oci.descriptor import Descriptor
from firkin.oci.platform import Platform
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools


class NoBlobs:
    """A fetcher of layers in a place that has no registry."""

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        raise AssertionError(f"nothing is to be fetched: {origin}")


def no_runtime() -> Runtime:
    raise HostError("no RUN here")


@contextmanager
def open_services(place: Path, **changes: Any) -> Iterator[Services]:
    """Yield services over the store at `place`; `emit` fills the list `events` if one is given."""
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
    """Return a context of files by name, `.` written as `_`."""
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

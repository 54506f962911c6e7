"""What a build works with: opened once, shared by its steps, closed in order."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.solving import files, graph, step

from firkin.backend import Backend
from firkin.builder.context.views import SingleFile
from firkin.builder.dockerfile.ignore import IgnoreMatcher, parse_ignore
from firkin.builder.graph.ops import MakeDir, Scratch
from firkin.builder.request import BuildRequest, CacheRef
from firkin.builder.solve import runtime
from firkin.builder.solve.result import Files
from firkin.builder.solve.services import Runtime
from firkin.builder.solve.session import BuildSession
from firkin.content.format import LayerFormat
from firkin.content.snapshot import LayerRef
from firkin.errors import Cancelled, HostError
from firkin.events import Warned
from firkin.layer.change import Entry
from firkin.linux.enter import NamespacePlan
from firkin.source import Source
from firkin.tasks.cancel import Cancel

BACKEND = Backend("directory", "chroot", NamespacePlan(), single_id=True)
MADE = graph(step(0, Scratch()), step(1, MakeDir("/work"), 0))


class Opened:
    """A session and what it was given."""

    def __init__(self, place: Path, backend: Callable[[], Backend] = lambda: BACKEND, **fields: Any) -> None:
        context = place / "context"
        context.mkdir(exist_ok=True)
        self.events: list[object] = []
        self.cancel = Cancel()
        request = BuildRequest(str(context), str(place / "store"), **fields)
        self.session = BuildSession(
            request, self.events.append, self.cancel, lambda: 1e6, IgnoreMatcher,
            lambda data, name: parse_ignore(Source(name, data.decode())), lambda text, known: None, backend,
        )  # fmt: skip

    def warnings(self) -> list[tuple[str, str]]:
        return [(event.code, event.message) for event in self.events if isinstance(event, Warned)]


@contextmanager
def opened(place: Path, **fields: Any) -> Iterator[Opened]:
    one = Opened(place, **fields)
    with one.session:
        yield one


def no_backend() -> Backend:
    raise HostError("no RUN here")


def test_a_session_gives_back_all_that_it_took(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with opened(tmp_path) as one:
        one.session.engine(MADE, "D", whole_files=False)
        pool = one.session.pools.steps
    assert set(os.listdir("/proc/self/fd")) == before
    assert one.session.stop() and not one.cancel()
    with pytest.raises((Cancelled, RuntimeError)):
        pool.submit(lambda: None).result()


def test_a_session_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    (tmp_path / "store").write_text("no directory")
    with pytest.raises(Exception, match="store"), opened(tmp_path):
        pass
    assert set(os.listdir("/proc/self/fd")) == before


def test_cancelling_reaches_steps_and_commands(tmp_path: Path) -> None:
    with opened(tmp_path) as one:
        services = one.session._services()
        assert not select.select([services.stop_fd], [], [], 0)[0]
        one.cancel.set(15)
        assert services.stop.signal == 15
        assert select.select([services.stop_fd], [], [], 0)[0]


def test_a_build_that_was_cancelled_before_stops_at_once(tmp_path: Path) -> None:
    one = Opened(tmp_path)
    one.cancel.set(2)
    with one.session as session:
        assert session.stop.signal == 2 and select.select([session._services().stop_fd], [], [], 0)[0]


def test_an_engine_knows_what_is_wanted_of_its_graph(tmp_path: Path) -> None:
    told: list[int] = []
    with opened(tmp_path, explain=True) as one:
        engine = one.session.engine(
            MADE, "D", (LayerFormat("zstd"),), whole_files=True, on_first_miss=lambda: told.append(1)
        )
        root = engine.look_up(MADE.steps[0], ())
        assert root is not None and engine.look_up(MADE.steps[1], (root,)) is None
        engine.fetch(MADE.steps[1], (root,))
        engine.execute(MADE.steps[1], (root,))
        (tree,) = os.listdir(one.session.store.layout.trees)
        shipped = one.session.layers.blobs.start(LayerRef(tree), LayerFormat("zstd")).result()
        assert shipped.descriptor.media_type.endswith("zstd")
        assert told == [1] and engine.memory.slot(MADE.steps[1]) == "D|stage|1"
        assert any(b"not cached" in getattr(event, "data", b"") for event in one.events)


def test_engines_of_one_session_share_what_is_remembered(tmp_path: Path) -> None:
    with opened(tmp_path) as one:
        for known in (False, True):
            engine = one.session.engine(MADE, "D", whole_files=False)
            root = engine.look_up(MADE.steps[0], ())
            assert root is not None
            found = engine.look_up(MADE.steps[1], (root,))
            assert (found is not None) == known
            if not known:
                engine.execute(MADE.steps[1], (root,))


# How commands run


def test_the_runtime_is_made_once_for_steps_that_ask_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Backend] = []
    closed: list[int] = []

    def make(backend: Backend, *_: Any) -> Runtime:
        made.append(backend)
        return Runtime(None, None, close=lambda: closed.append(1))  # type: ignore[arg-type]

    monkeypatch.setattr(runtime, "make_runtime", make)
    readable = Backend("directory", "chroot", NamespacePlan(), readable=("/run/secrets/token",))
    with opened(tmp_path, backend=lambda: readable) as one:
        found: list[Runtime] = []
        threads = [threading.Thread(target=lambda: found.append(one.session.runtime())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [readable] and all(item is found[0] for item in found)
        assert not closed
    assert closed == [1]
    ((code, message),) = one.warnings()
    assert code == "readable-credentials" and "/run/secrets/token" in message


def test_a_machine_without_a_backend_fails_at_the_first_command_only(tmp_path: Path) -> None:
    with opened(tmp_path, backend=no_backend) as one:
        services = one.session._services()
        with pytest.raises(HostError, match="no RUN here"):
            services.runtime()


@pytest.mark.parametrize("single_id", [True, False])
def test_files_have_owners_where_there_are_ids_for_them(tmp_path: Path, single_id: bool) -> None:
    backend = Backend("directory", "chroot", NamespacePlan(), single_id=single_id)
    with opened(tmp_path, backend=lambda: backend) as one:
        assert one.session.layers.owner_free is single_id


# Caches, and beginning again


def test_a_cache_that_is_not_there_is_told(tmp_path: Path) -> None:
    cache = CacheRef("local", "cache")
    with opened(tmp_path, cwd=str(tmp_path), cache_from=(cache,), cache_to=(cache,)) as one:
        assert one.session._services().remote is one.session.caches is not None
        assert one.warnings() == [
            ("cache-unreadable", f"there is no cache at {tmp_path}/cache, so nothing is taken from it")
        ]
        assert str(tmp_path / "cache") in one.session.contexts.layouts
    with opened(tmp_path) as one:
        assert one.session.caches is None


def test_beginning_again_forgets_what_was_known_of_layers(tmp_path: Path) -> None:
    with opened(tmp_path, cwd=str(tmp_path), cache_to=(CacheRef("local", "cache"),)) as one:
        layers, caches = one.session.layers, one.session.caches
        one.session.begin(frozenset({"f" * 64}))
        assert one.session.layers is not layers and one.session.caches is not caches
        assert one.session._services().layers is one.session.layers


# Downloads


def test_the_newest_time_in_a_download_that_is_no_archive_is_none(tmp_path: Path) -> None:
    with opened(tmp_path) as one:
        assert one.session.newest_in_archive(files(a="1")) is None  # a tree
        download = Files(SingleFile("a.txt", Entry("file", 0o644, 0, 0, 1, 9 * 10**9), b"1"))
        assert one.session.newest_in_archive(download) is None

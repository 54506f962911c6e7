"""Where the layer of a step is looked for, in which order, and what is remembered of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from support.solving import Build, OtherCaches, files, graph, open_services, step

from firkin.builder.cache.records import StepRecord
from firkin.builder.graph.key import CacheKey
from firkin.builder.graph.ops import Context, Copy, Http, MakeDir, PathSource, Scratch
from firkin.builder.graph.step import Graph, StepId
from firkin.builder.solve.keys import StepKeys
from firkin.builder.solve.lookup import Hit, Lookup, Miss
from firkin.builder.solve.memory import Memory
from firkin.builder.solve.remote_cache import RemoteCache
from firkin.builder.solve.services import Services
from firkin.content.format import LayerFormat
from firkin.content.snapshot import Snapshot


def take(path: str, number: int = 1) -> Copy:
    return Copy((PathSource(number, path, wildcard=False),), path)


ONE = graph(step(0, Scratch()), step(1, Context("main")), step(2, take("/a"), 0, 1))


def stages(**end: Any) -> Graph:
    """Return a stage of two layers, and an image with the file of one of them."""
    return graph(
        step(0, Scratch()),
        step(1, Context("main")),
        step(2, take("/a"), 0, 1),
        step(3, take("/b"), 2, 1, **end.pop("stage", {})),
        step(4, take("/a"), 0, 3, **end),
    )


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with open_services(tmp_path / "store") as opened:
        yield opened


def with_caches(services: Services, caches: OtherCaches) -> Services:
    return msgspec.structs.replace(services, remote=cast(RemoteCache, caches))


class Search:
    """A look-up of the last step of a build in which all before it have run."""

    def __init__(self, build: Build, slot: str = "D", *, explains: bool = True) -> None:
        self.build = build
        self.step = build.graph.steps[-1]
        build.run(until=self.step.id - 1)
        self.inputs = build.inputs(self.step.id)
        keys = StepKeys(build.services.store, build.services.tools, build.services.file_digests)
        self.memory = Memory(build.services, keys, build.wanted, slot)
        self.made: list[str] = []
        self.lookup = Lookup(
            build.services, keys, self.memory, build.wanted, build.graph, {"main": files(a="")}, build.results,
            lambda step, inputs, layer: self.made.append(layer), explains=explains,
        )  # fmt: skip
        self.early = self.lookup.early(self.step, self.inputs)

    def late(self) -> Hit | Miss:
        assert isinstance(self.early, Miss)
        return self.lookup.late(self.step, self.inputs, self.early)


def place(answer: Hit | Miss) -> str:
    return answer.place if isinstance(answer, Hit) else "miss"


def layer_of(build: Build) -> str:
    result = build.results[build.graph.steps[-1].id]
    assert isinstance(result, Snapshot)
    return result.layers[-1].tree_id


# The own key


def test_nothing_is_found_in_an_empty_store(services: Services) -> None:
    search = Search(Build(services, ONE, {"main": files(a="1")}))
    assert place(search.early) == place(search.late()) == "miss"
    assert cast(Miss, search.early).reason == "nothing is known of an earlier build of this instruction"


def test_a_layer_is_found_under_its_own_key(services: Services) -> None:
    first = Build(services, ONE, {"main": files(a="1")}).run()
    found = Search(Build(services, ONE, {"main": files(mtime_s=7, a="1")})).early
    assert place(found) == "own" and cast(Hit, found).record.layer == layer_of(first)
    changed = Search(Build(services, ONE, {"main": files(a="2")})).early
    assert isinstance(changed, Miss) and changed.reason == "files that it copies changed"


def test_reasons_are_found_for_who_asks(services: Services) -> None:
    assert cast(Miss, Search(Build(services, ONE, {"main": files(a="1")}), explains=False).early).reason == ""


@pytest.mark.parametrize("slot", ["D", "elsewhere"])
def test_other_times_count_for_layers_of_other_projects_only(
    services: Services, monkeypatch: pytest.MonkeyPatch, slot: str
) -> None:
    monkeypatch.setattr(StepKeys, "set_times", lambda *_: "then")
    first = Build(services, ONE, {"main": files(a="1")}, slot="D").run()
    assert place(Search(Build(services, ONE, {"main": files(a="1")}), slot).early) == "own"
    monkeypatch.setattr(StepKeys, "set_times", lambda *_: "now")
    search = Search(Build(services, ONE, {"main": files(a="1")}), slot)
    if slot == "D":
        assert place(search.early) == "own"
        return
    assert isinstance(search.early, Miss) and search.early.key.parts[-1] == ("times", "now")
    Build(services, ONE, {"main": files(a="1")}, slot=slot).run()  # makes its own, and finds it the next time
    again = Search(Build(services, ONE, {"main": files(a="1")}), slot).early
    assert isinstance(again, Hit) and again.place == "own" and again.record.layer != layer_of(first)


def test_a_record_without_its_layer_is_forgotten(services: Services) -> None:
    first = Build(services, ONE, {"main": files(a="1")}, whole_files=True).run()
    shutil.rmtree(Path(services.store.trees.path(layer_of(first))).parent)
    search = Search(Build(services, ONE, {"main": files(a="1")}))
    assert place(search.early) == "miss"
    assert services.records.find(search.early.key.key) is None


# What is read of other stages


def test_a_narrow_key_finds_what_another_layer_of_the_stage_does_not_touch(services: Services) -> None:
    first = Build(services, stages(), {"main": files(a="1", b="1")}).run()
    search = Search(Build(services, stages(), {"main": files(a="1", b="2")}))
    assert place(search.early) == "narrow"
    hit = cast(Hit, search.early)
    assert hit.record.key != hit.key.key and hit.record.layer == layer_of(first)
    search.memory.keep_found(search.step, search.inputs, hit.key, hit.record)
    assert place(Search(Build(services, stages(), {"main": files(a="1", b="2")})).early) == "own"


def test_a_layer_is_recalled_once_the_stage_is_unpacked(services: Services) -> None:
    first = Build(services, stages(), {"main": files(a="1", b="1")}).run()
    second = Build(services, stages(), {"main": files(a="1", b="2")}).run(until=3)
    stage = cast(Snapshot, second.results[StepId(3)])
    services.layers.blobs.start(stage.layers[-1], LayerFormat()).result()
    shutil.rmtree(Path(services.store.trees.path(stage.layers[-1].tree_id)).parent)
    search = Search(second)
    assert place(search.early) == "miss"  # which files the layer touches is not known
    late = search.late()
    assert place(late) == "recalled" and cast(Hit, late).record.layer == layer_of(first)
    assert services.store.trees.has(stage.layers[-1].tree_id)


def test_a_stage_made_anew_with_the_same_files_is_unchanged(services: Services) -> None:
    contexts = {"main": files(a="1", b="1")}
    anew = graph(*ONE.steps[:2], step(2, take("/a"), 0, 1, no_cache=True), *stages().steps[3:])
    first = Build(services, stages(), contexts).run()
    search = Search(Build(services, anew, contexts))
    assert place(search.early) == "miss"
    late = search.late()
    assert place(late) == "unchanged" and cast(Hit, late).record.layer == layer_of(first)
    assert cast(Hit, late).record.key == search.early.key.key
    assert place(Search(Build(services, anew, contexts)).early) == "miss"  # yet another stage
    other = {"main": files(a="2", b="1")}
    assert place(Search(Build(services, anew, other)).late()) != "unchanged"


# The destination


def onto(*, no_cache: bool = False) -> Graph:
    """Return a COPY onto a root of another COPY."""
    return graph(
        step(0, Scratch()),
        step(1, Context("main")),
        step(2, take("/b"), 0, 1),
        step(3, take("/a"), 2, 1, no_cache=no_cache),
    )


def test_a_destination_key_finds_a_layer_that_was_made_on_another_root(services: Services) -> None:
    first = Build(services, onto(), {"main": files(a="1", b="1")}).run()
    search = Search(Build(services, onto(), {"main": files(a="1", b="2")}))
    assert place(search.early) == "miss"
    late = search.late()
    assert place(late) == "destination" and cast(Hit, late).record.layer == layer_of(first)
    assert place(Search(Build(services, onto(), {"main": files(a="1", b="2")})).early) == "own"


def test_no_cache_finds_nothing_and_knows_all_keys(services: Services) -> None:
    Build(services, onto(), {"main": files(a="1", b="1")}).run()
    search = Search(Build(services, onto(no_cache=True), {"main": files(a="1", b="1")}))
    late = search.late()
    assert isinstance(search.early, Miss) and isinstance(late, Miss)
    assert search.early.reason == "the cache is not to be used (`--no-cache`)"
    assert late.destination is not None and services.records.find(late.destination.key) is not None
    assert services.records.find(late.key.key) is not None


def test_a_directory_has_no_destination_key(services: Services) -> None:
    made = graph(step(0, Scratch()), step(1, MakeDir("/work"), 0))
    assert cast(Miss, Search(Build(services, made, {})).late()).destination is None


# Caches elsewhere


def test_caches_are_asked_last_and_by_both_keys(services: Services) -> None:
    Build(services, stages(), {"main": files(a="0", b="0")}).run()
    caches = OtherCaches(services)
    search = Search(Build(with_caches(services, caches), stages(), {"main": files(a="1", b="2")}))
    assert place(search.early) == "miss"
    narrow = StepKeys(services.store, services.tools, services.file_digests).narrow(search.step, search.inputs)
    assert narrow is not None and caches.looked[-2:] == [search.early.key.key, narrow.key]


@pytest.mark.parametrize("by", ["own", "narrow"])
def test_a_layer_of_a_cache_is_taken_and_can_be_made_anew(services: Services, by: str) -> None:
    contexts = {"main": files(a="1", b="2")}
    caches = OtherCaches(services)
    search = Search(Build(with_caches(services, caches), stages(), contexts))
    keys = StepKeys(services.store, services.tools, services.file_digests)
    narrow = keys.narrow(search.step, search.inputs)
    assert narrow is not None
    caches.layers = {(search.early.key if by == "own" else narrow).key: "f" * 64}
    found = search.lookup.early(search.step, search.inputs)
    assert isinstance(found, Hit) and (found.place, found.record.layer) == ("caches", "f" * 64)
    caches.makers[-1]("f" * 64)
    assert search.made == ["f" * 64]


def test_what_is_in_the_store_is_not_asked_of_caches(services: Services) -> None:
    contexts = {"main": files(a="1")}
    Build(services, ONE, contexts).run()
    caches = OtherCaches(services)
    assert place(Search(Build(with_caches(services, caches), ONE, contexts)).early) == "own"
    assert caches.looked == caches.asked_ahead == []


def test_caches_are_asked_ahead_for_all_that_follows(services: Services) -> None:
    made = graph(
        step(0, Scratch()),
        step(1, Context("main")),
        step(2, take("/a"), 0, 1),
        step(3, MakeDir("/work"), 2),
        step(4, MakeDir("/never"), 3, no_cache=True),
        step(5, MakeDir("/after"), 4),
        step(6, Http("https://a.test/x", "x", "")),
        step(7, take("/x"), 3, 6),
        step(8, take("/y", 2), 5, 1, 7),
    )
    caches = OtherCaches(services)
    contexts = {"main": files(a="1")}
    build = Build(with_caches(services, caches), made, contexts)
    alone = Build(services, made, contexts).run(until=3)
    known = [cast(Snapshot, alone.results[StepId(number)]).layers[-1].tree_id for number in (2, 3)]
    assert caches.asked_ahead == known  # before any step is looked up, and not what depends on what must run
    assert build.how == {}


def test_the_first_place_that_has_a_layer_ends_the_search(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    find = Memory.find

    def noted(self: Memory, key: CacheKey) -> StepRecord | None:
        asked.append(key)
        return find(self, key)

    caches = OtherCaches(services)
    Build(services, stages(), {"main": files(a="1", b="1")}).run()
    search = Search(Build(with_caches(services, caches), stages(), {"main": files(a="2", b="1")}))
    keys = StepKeys(services.store, services.tools, services.file_digests)
    narrow = keys.narrow(search.step, search.inputs)
    assert narrow is not None and place(search.early) == "miss"
    monkeypatch.setattr(Memory, "find", noted)
    caches.looked.clear()
    assert isinstance(search.lookup.early(search.step, search.inputs), Miss)
    assert asked == caches.looked == [search.early.key.key, narrow.key]
    asked.clear()
    late = search.late()
    assert isinstance(late, Miss) and late.destination is not None
    assert asked == [late.destination.key]

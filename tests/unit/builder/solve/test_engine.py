"""The engine: who executes a step, what is remembered when it has run, and what a failure leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from support.solving import Build, OtherCaches, files, graph, open_services, step

from firkin.builder.graph.key import key_of
from firkin.builder.graph.ops import Context, Copy, Http, MakeDir, Op, PathSource, Pull, Run, Scratch
from firkin.builder.graph.step import Graph, StepId
from firkin.builder.solve.remote_cache import RemoteCache
from firkin.builder.solve.result import Files
from firkin.builder.solve.services import Runtime, Services
from firkin.content.format import LayerFormat
from firkin.content.snapshot import Snapshot
from firkin.errors import Cancelled, ContextError, StepFailed
from firkin.events import Log, Warned
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Layer
from firkin.oci.platform import Platform
from firkin.oci.run import RunSpec
from firkin.sandbox.result import RunResult

COPY = Copy((PathSource(1, "/a", wildcard=False),), "/a")
ONE = graph(step(0, Scratch()), step(1, Context("main")), step(2, COPY, 0, 1))


@pytest.fixture
def events() -> list[object]:
    return []


@pytest.fixture
def services(tmp_path: Path, events: list[object]) -> Iterator[Services]:
    with open_services(tmp_path / "store", events=events) as opened:
        yield opened


def layers_of(build: Build) -> list[str]:
    result = build.results[build.graph.targets[0].step]
    assert isinstance(result, Snapshot)
    return [layer.tree_id for layer in result.layers]


class Commands:
    """A runtime whose commands end as they are told, and leave a file `made`."""

    def __init__(self, **result: Any) -> None:
        self.specs: list[RunSpec] = []
        self.result = RunResult(**{"exit_code": 0, **result})
        self.mount = ""
        self.scratch = ""

    @contextmanager
    def open(self, lowers: tuple[str, ...], scratch: str) -> Iterator[Commands]:
        self.mount, self.scratch = f"{scratch}/root", f"{scratch}/scratch"
        os.mkdir(self.mount)
        os.mkdir(self.scratch)
        yield self

    def seal(self, tree: str, covered: tuple[str, ...] = ()) -> None:
        Path(tree, "made").write_text("here")

    def run(self, spec: RunSpec, root: str, *, on_output: Any, **_: Any) -> RunResult:
        self.specs.append(spec)
        on_output(b"said\n")
        return self.result


def with_commands(services: Services, commands: Commands) -> Services:
    runtime = Runtime(cast(Any, commands), cast(Any, commands))
    return msgspec.structs.replace(services, runtime=lambda: runtime)


# Dispatch


def test_each_op_is_executed_by_its_own_module(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    from firkin.builder.solve.ops import copy, makedir, run

    seen: list[tuple[str, str]] = []

    def executor(name: str, module: Any, function: str) -> None:
        def execute(*arguments: Any) -> float:
            *_, job, op = arguments
            seen.append((name, type(op).__name__))
            services.layers.trees.write(job.layer_id, ())
            return 3.0

        monkeypatch.setattr(module, function, execute)

    executor("copy", copy, "copy")
    executor("makedir", makedir, "make_dir")
    executor("run", run, "run")
    steps = (*ONE.steps, step(3, MakeDir("/work"), 2), step(4, Run(("true",)), 3), step(5, Http("https://a.test/x", "x", "")))
    end = step(6, Copy((PathSource(1, "/download", wildcard=False),), "/x"), 4, 5)
    build = Build(services, graph(*steps, end), {"main": files(a="1")}).run()
    assert seen == [("copy", "Copy"), ("makedir", "MakeDir"), ("run", "Run"), ("copy", "Copy")]
    assert build.fetched == ["5"]
    assert build.how == {0: "ready", 1: "ready", 2: "made", 3: "made", 4: "made", 5: "made", 6: "made"}
    assert [build.engine.memory.created[layer] for layer in layers_of(build)] == [3.0, 3.0, 1e6, 3.0]


def test_an_op_without_a_layer_is_refused(services: Services) -> None:
    build = Build(services, ONE, {"main": files(a="1")})
    with pytest.raises(TypeError, match="Scratch makes no layer"):
        build.engine._make(ONE.steps[0], (), "f" * 64)


def test_downloads_are_never_looked_up(services: Services) -> None:
    made = graph(step(0, Scratch()), step(1, Http("https://a.test/x", "x", "")), step(2, COPY, 0, 1))
    build = Build(services, made, {})
    assert build.engine.look_up(made.steps[1], ()) is None
    build.engine.fetch(made.steps[1], ())
    assert isinstance(build.engine.execute(made.steps[1], ()), Files) and build.fetched == ["1"]


# What is remembered


def test_a_layer_is_remembered_under_all_its_keys(services: Services) -> None:
    caches = OtherCaches(services)
    known = msgspec.structs.replace(services, remote=cast(RemoteCache, caches))
    made = graph(
        *ONE.steps[:2],
        step(2, COPY, 0, 1),
        step(3, MakeDir("/other"), 2),
        step(4, MakeDir("/base"), 0),
        step(5, Copy((PathSource(1, "/a", wildcard=False),), "/end", keep_owner=True), 4, 3, written="COPY $FROM"),
    )
    build = Build(known, made, {"main": files(a="1")}).run()
    layer = layers_of(build)[-1]
    (own, narrow) = build.engine.memory.used[layer]
    assert own.key == layer and key_of(own.parts) == own.key and own.title == "COPY $FROM"
    assert (own.slot, narrow.slot) == ("D|stage|5", "D|stage|5|narrow")
    assert services.records.find(narrow.key) == narrow
    note = services.records.previous("D|stage|5|read")
    assert note is not None and note.layer == layer
    destination = services.records.previous("D|stage|5|narrow")
    assert destination is not None and destination.layer == layer
    assert [(key, shipped, fresh) for key, shipped, fresh in caches.added if key in (own.key, narrow.key)] == [
        (own.key, True, False), (narrow.key, True, False)
    ]  # fmt: skip
    stage = cast(Snapshot, build.results[StepId(3)]).layers[-1].tree_id
    assert (stage, False, False) in caches.added


def test_what_no_cache_makes_is_another_layer_in_place_of_the_old(services: Services) -> None:
    first = Build(services, ONE, {"main": files(a="1")}).run()
    made = graph(*ONE.steps[:2], step(2, COPY, 0, 1, no_cache=True))
    second = Build(services, made, {"main": files(a="1")}).run()
    (old,), (new,) = layers_of(first), layers_of(second)
    assert old != new and old[:32] == new[:32]
    third = Build(services, ONE, {"main": files(a="1")}).run()
    assert layers_of(third) == [new] and third.how[2] == "found"


def test_a_layer_has_the_time_of_its_newest_file(services: Services) -> None:
    build = Build(services, ONE, {"main": files(mtime_s=12345, a="1")}).run()
    (layer,) = layers_of(build)
    assert build.engine.memory.created == {layer: 12345}
    again = Build(services, ONE, {"main": files(mtime_s=9, a="1")}).run()
    assert again.engine.memory.created == {layer: 12345}


def test_blobs_of_shipped_layers_are_written_in_every_form(services: Services) -> None:
    forms = (LayerFormat(), LayerFormat("zstd"))
    build = Build(services, ONE, {"main": files(a="1")}, formats=forms).run()
    (ref,) = cast(Snapshot, build.results[StepId(2)]).layers
    for form in forms:
        layer = services.layers.blobs.start(ref, form).result()
        assert services.store.blobs.size(layer.descriptor.digest) == layer.descriptor.size


def test_a_layer_whose_files_nobody_reads_is_kept_as_its_blob(services: Services) -> None:
    Build(services, ONE, {"main": files(a="1")}).run()
    assert os.listdir(services.store.layout.trees) == []
    Build(services, ONE, {"main": files(a="2")}, whole_files=True).run()
    assert len(os.listdir(services.store.layout.trees)) == 1


# Late finds


def test_a_layer_from_another_root_is_made_as_far_as_people_see(services: Services) -> None:
    onto = graph(*ONE.steps[:2], step(2, MakeDir("/x"), 0), step(3, COPY, 2, 1))
    other = graph(*ONE.steps[:2], step(2, MakeDir("/y"), 0), step(3, COPY, 2, 1))
    first = Build(services, onto, {"main": files(a="1")}).run()
    second = Build(services, other, {"main": files(a="1")}).run()
    assert layers_of(second)[-1] == layers_of(first)[-1] and second.how[3] == "made"


def test_a_stage_with_the_same_files_counts_as_found(services: Services) -> None:
    def made(*, no_cache: bool) -> Graph:
        copy = Copy((PathSource(1, "/a", wildcard=False),), "/b")
        return graph(*ONE.steps[:2], step(2, COPY, 0, 1, no_cache=no_cache), step(3, copy, 0, 2))

    first = Build(services, made(no_cache=False), {"main": files(a="1")}).run()
    second = Build(services, made(no_cache=True), {"main": files(a="1")}).run()
    assert second.how == {0: "ready", 1: "ready", 2: "made", 3: "found late"}
    assert layers_of(first) == layers_of(second)


# Misses


def test_the_first_miss_is_told_once(services: Services) -> None:
    told: list[int] = []
    made = graph(*ONE.steps, step(3, MakeDir("/x"), 2))
    Build(services, made, {"main": files(a="1")}, on_first_miss=lambda: told.append(1)).run()
    assert told == [1]
    Build(services, made, {"main": files(a="1")}, on_first_miss=lambda: told.append(2)).run()
    assert told == [1]


def test_explanations_are_logged_where_they_are_wanted(services: Services, events: list[object]) -> None:
    Build(services, ONE, {"main": files(a="1")}).run()
    assert not events
    Build(services, ONE, {"main": files(a="2")}, explain=True).run()
    assert events == [Log(1e6, "2", "stderr", b"not cached: files that it copies changed\n")]


def test_every_step_must_be_cached_where_that_is_required(services: Services) -> None:
    with pytest.raises(StepFailed, match="`step 2` is not cached: nothing is known of an earlier build") as caught:
        Build(services, ONE, {"main": files(a="1")}, require_cached=True).run()
    assert caught.value.code == "not-cached"
    Build(services, ONE, {"main": files(a="1")}).run()
    Build(services, ONE, {"main": files(a="1")}, require_cached=True).run()


def test_a_base_in_a_registry_is_no_remembered_result(services: Services) -> None:
    layer = Layer(DiffID(digest_of(b"x")), Descriptor("application/vnd.oci.image.layer.v1.tar", digest_of(b"y"), 1))
    pull = Pull("docker-image://r.test/i", Platform("linux", "amd64"), (layer,))
    made = graph(step(0, pull))
    build = Build(services, made, {}).run()
    assert not build.engine.is_here(made.steps[0], build.results[StepId(0)])
    empty = Build(services, graph(step(0, Scratch())), {}).run()
    assert empty.engine.is_here(empty.graph.steps[0], empty.results[StepId(0)])


# Failing steps


def test_a_step_that_fails_leaves_nothing(services: Services) -> None:
    missing = graph(*ONE.steps[:2], step(2, Copy((PathSource(1, "/b", wildcard=False),), "/b"), 0, 1))
    build = Build(services, missing, {"main": files(a="1")})
    with pytest.raises(ContextError, match="not found"):
        build.run()
    layout = services.store.layout
    assert os.listdir(layout.trees) == os.listdir(layout.scratch) == []
    assert services.records.previous("D|stage|2") is None and build.engine.memory.used == {}


def run_graph(op: Op) -> Graph:
    return graph(step(0, Scratch()), step(1, op, 0))


def test_a_command_gets_what_surrounds_it(services: Services, events: list[object]) -> None:
    commands = Commands(warnings=("limits",))
    op = Run(("true",), env=("A=b",), cwd="/w", user="7:8")
    build = Build(with_commands(services, commands), run_graph(op), {}).run()
    (spec,) = commands.specs
    assert (spec.argv, spec.cwd, spec.uid, spec.gid, spec.hostname) == (("true",), "/w", 7, 8, "buildkitsandbox")
    assert dict(spec.env)["A"] == "b" and dict(spec.env)["HOME"] == "/"
    (layer,) = layers_of(build)
    assert Path(services.store.trees.path(layer), "made").read_text() == "here"
    assert build.engine.memory.created == {layer: 1e6}
    assert events == [Log(1e6, "1", "stdout", b"said\n"), Warned(1e6, "run-limits", "limits")]


@pytest.mark.parametrize(
    ("result", "error", "exit_code"),
    [({"exit_code": 7}, StepFailed, 7), ({"signal": 9}, StepFailed, 137), ({"cancelled": True}, Cancelled, 130)],
    ids=["exit", "signal", "cancelled"],
)
def test_a_command_that_fails_leaves_no_layer(
    services: Services, result: dict[str, Any], error: type[StepFailed], exit_code: int
) -> None:
    commands = Commands(**result)
    build = Build(with_commands(services, commands), run_graph(Run(("false",))), {})
    with pytest.raises(error) as caught:
        build.run()
    assert caught.value.exit_code == exit_code
    assert os.listdir(services.store.layout.trees) == [] and services.records.previous("D|stage|1") is None
    commands.result = RunResult(0)
    assert build.run().how[1] == "made"

"""What is wanted of steps: files where somebody reads them, blobs where they are shipped."""

from __future__ import annotations

import pytest
from support.solving import graph, step

from firkin.builder.graph.ops import Context, Copy, MakeDir, PathSource, Run, Scratch
from firkin.builder.solve.wanted import Wanted, chain_of, plan_wanted
from firkin.content.format import LayerFormat

FILES = Copy((PathSource(1, "/a", wildcard=False),), "/a")
STAGES = graph(
    step(0, Scratch()),
    step(1, Context("main")),
    step(2, FILES, 0, 1),  # a stage
    step(3, MakeDir("/work"), 2),
    step(4, FILES, 0, 3),  # COPY --from it
    step(5, MakeDir("/end"), 4),
)
ZSTD = LayerFormat("zstd")


def test_a_copy_needs_the_files_of_its_source_and_only_names_of_its_root() -> None:
    wanted = plan_wanted(STAGES, (), whole_files=False)
    assert wanted.unpacked == {0, 1, 2, 3}  # 3 is read, so it and all below must be files


def test_a_run_needs_the_files_of_its_root() -> None:
    steps = (*STAGES.steps, step(6, Run(("true",)), 5))
    assert plan_wanted(graph(*steps), (), whole_files=False).unpacked == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("formats", "whole_files"), [((), True), ((LayerFormat(ignore=("var",)),), False)], ids=["output", "paths left out"]
)
def test_files_of_the_target_are_wanted_too(formats: tuple[LayerFormat, ...], whole_files: bool) -> None:
    assert 5 in plan_wanted(STAGES, formats, whole_files=whole_files).unpacked


def test_layers_of_the_target_are_shipped_those_of_other_stages_not() -> None:
    wanted = plan_wanted(STAGES, (ZSTD, LayerFormat()), whole_files=False)
    assert wanted.shipped == {0, 4, 5} and wanted.first_format == ZSTD
    assert [one.id for one in chain_of(STAGES, STAGES.steps[5].id)] == [5, 4, 0]
    assert Wanted().first_format == LayerFormat()

"""Generated builds by firkin and by a BuildKit: see run.py. The corpus, and seeds for a minute (DIFFERENTIAL_MINUTES)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from differential.builders import Builder, Firkin, running_buildkit
from differential.cases import Case
from differential.compare import compare
from differential.generate import generate
from differential.images import Entry, Made
from differential.run import cases, corpus, differences
from support.registry import Registry

pytestmark = pytest.mark.clients

MINUTES = float(os.environ.get("DIFFERENTIAL_MINUTES", "1"))
MOST = 1_000_000


@pytest.fixture(scope="module")
def builders(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Builder, Builder]]:
    """Return BuildKit and firkin."""
    place = tmp_path_factory.mktemp("buildkit")
    with running_buildkit(place, registry.host, own=True) as buildkit:
        yield buildkit, Firkin(place / "store", registry.host)


def told(case: Case, found: list[object]) -> str:
    return "\n".join([f"case {case.name}", case.dockerfile, *map(str, found)])


@pytest.mark.registry
@pytest.mark.buildkit
@pytest.mark.xdist_group("differential")
@pytest.mark.parametrize("case", corpus(), ids=lambda case: case.name)
def test_corpus(builders: tuple[Builder, Builder], tmp_path: Path, case: Case) -> None:
    found = differences(case, *builders, tmp_path)
    assert not found, told(case, list(found))


@pytest.mark.registry
@pytest.mark.buildkit
@pytest.mark.xdist_group("differential")
@pytest.mark.timeout(MINUTES * 60 + 240)
def test_seeds(builders: tuple[Builder, Builder], tmp_path: Path) -> None:
    """The same seeds each time, as far as the time goes: a red result is a change of firkin's."""
    count = 0
    for case in cases(range(MOST), time.monotonic() + MINUTES * 60):
        found = differences(case, *builders, tmp_path)
        assert not found, told(case, list(found))
        count += 1
    assert count


def test_a_seed_is_a_case() -> None:
    first, again = generate(7), generate(7)
    assert first == again != generate(8)
    assert Case.from_json(first.to_json()) == first


def test_differences_are_found() -> None:
    """What compare() can see, without any builder."""
    entry = Entry("file", 0o644, (0, 0), 1_000_000_000, "x")
    config = {"config": {"Env": ["A=1"]}, "history": [{"created_by": "COPY a b"}]}
    made = Made(tree={"f": entry}, config=config)
    assert list(compare(made, made)) == []
    for other, place in (
        (Made(error="error: no"), "outcome"),
        (Made(tree={}, config=config), "f"),
        (Made(tree={"f": entry, "g": entry}, config=config), "g"),
        *((Made(tree={"f": changed}, config=config), "f") for changed in (
            Entry("dir", 0o644, (0, 0), 1_000_000_000, "x"),
            Entry("file", 0o600, (0, 0), 1_000_000_000, "x"),
            Entry("file", 0o644, (1, 0), 1_000_000_000, "x"),
            Entry("file", 0o644, (0, 0), 1_000_000_001, "x"),
            Entry("file", 0o644, (0, 0), 1_000_000_000, "y"),
            Entry("file", 0o644, (0, 0), 1_000_000_000, "x", xattrs=(("user.a", "b"),)),
        )),
        (Made(tree={"f": entry}, config={**config, "config": {}}), "config.Env"),
        (Made(tree={"f": entry}, config={**config, "history": []}), "history"),
    ):  # fmt: skip
        assert [difference.place for difference in compare(made, other)] == [place]
    assert [x.place for x in compare(Made(error="x"), Made(error="internal error: y"))] == ["outcome"]
    chance = Made(tree={"f": Entry("file", 0o644, (0, 0), 1_795_000_000, "x")}, config=config)
    assert list(compare(chance, made)) == []  # BuildKit's clock

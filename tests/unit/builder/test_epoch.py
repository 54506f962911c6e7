"""The time that SOURCE_DATE_EPOCH names."""

from types import SimpleNamespace
from typing import Any

import pytest
from support.lowering import AMD64

from firkin.builder import epoch
from firkin.builder.dockerfile.lower import LowerOptions
from firkin.builder.dockerfile.parse import parse
from firkin.builder.graph.ops import Http
from firkin.source import Source

SOURCE = Http("https://host/app.tar", "app.tar")


def named(
    monkeypatch: pytest.MonkeyPatch, found: object, *, text: str = "FROM scratch\nARG SOURCE_DATE_EPOCH\n", image: object = None,
    time_s: int | None = 5, in_archive: int | None = 7,
) -> int | None:  # fmt: skip
    """Return what is named where the Dockerfile names `found`, a context or an op."""
    monkeypatch.setattr("firkin.builder.dockerfile.epoch.find_epoch_source", lambda *_: found)
    files = SimpleNamespace(time_s=time_s)
    contexts = SimpleNamespace(
        image=lambda name, platform: image, files={"": files, "ctx": files}, fetch=lambda op, vertex, stop: files
    )
    session: Any = SimpleNamespace(contexts=contexts, stop=None, newest_in_archive=lambda of: in_archive)
    bases: Any = None
    return epoch.named_epoch(session, parse(Source("Dockerfile", text)), LowerOptions(AMD64, AMD64), bases)


def test_a_file_without_the_word_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, SOURCE, text="FROM scratch\n") is None


@pytest.mark.parametrize("found", ["", "ctx", SOURCE])
def test_the_time_is_that_of_what_is_named(monkeypatch: pytest.MonkeyPatch, found: object) -> None:
    assert named(monkeypatch, found) == 5


def test_a_number_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, None) is None


def test_an_image_has_no_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, "ctx", image=object()) is None


def test_an_archive_is_as_old_as_its_newest_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, SOURCE, time_s=None) == 7
    assert named(monkeypatch, SOURCE, time_s=None, in_archive=None) is None

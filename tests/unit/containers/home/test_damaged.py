"""Containers whose record cannot be read: they are shown, found and told apart from those that are not there."""

import os
from pathlib import Path

import pytest

from firkin.containers.home.engine import Engine
from firkin.containers.home.home import Home
from firkin.containers.list import Wanted, list_containers
from firkin.containers.remove import remove
from firkin.errors import ContainerError

ID = "ab" * 32


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    place = tmp_path / "containers" / ID
    place.mkdir(parents=True)
    (tmp_path / "containers" / "names").mkdir()
    os.symlink(ID, tmp_path / "containers" / "names" / "web")
    (place / "config.json").write_text('{"version":1,"id":"')
    return Engine(str(tmp_path))


def test_it_is_listed_with_its_name_and_says_so(engine: Engine) -> None:
    (listed,) = list_containers(engine, Wanted(every=True))
    record, state = listed.entry
    assert (record.id, record.name, state.dead, state.error) == (ID, "web", True, "its record cannot be read")
    assert list_containers(engine, Wanted()) == []
    assert engine.home.entries() == [], "nobody else takes it for a container"


@pytest.mark.parametrize("text", [ID, ID[:12], "web", "/web"])
def test_whoever_asks_for_it_is_told(engine: Engine, text: str) -> None:
    with pytest.raises(ContainerError, match=f"container {ID} is damaged: its record cannot be read") as caught:
        engine.home.find(text)
    assert caught.value.hints


@pytest.mark.parametrize("text", ["ac", "we", "", "../containers"])
def test_others_are_missing_as_always(engine: Engine, text: str) -> None:
    with pytest.raises(ContainerError) as caught:
        engine.home.find(text)
    assert "damaged" not in caught.value.message


@pytest.mark.parametrize("text", [ID, ID[:5], "web"])
def test_only_by_force_it_is_removed(engine: Engine, text: str) -> None:
    with pytest.raises(ContainerError, match="is damaged"):
        remove(engine, text)
    assert remove(engine, text, force=True) == ID
    assert os.listdir(engine.home.containers + "/names") == []
    assert list_containers(engine, Wanted(every=True)) == []


def test_one_that_may_not_be_read_is_no_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(home: Home, path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(Home, "_read", denied)
    (listed,) = list_containers(engine, Wanted(every=True))
    assert listed.entry.state.dead

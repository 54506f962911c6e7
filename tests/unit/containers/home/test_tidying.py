"""What stores that are gone left outside of themselves."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firkin.containers.home.home import Home
from firkin.containers.home.tidying import remove_empty_groups
from firkin.containers.limits.facts import CgroupFacts

ID = "ab" * 32


def place(tmp_path: Path, name: str) -> Path:
    """Make a store and its runtime directory, and return the latter."""
    (tmp_path / name).mkdir()
    return Path(Home(str(tmp_path / name), str(tmp_path / "run")).ensure_runtime())


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A place with a path that sockets can have."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        yield Path(place)


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The directory of root would be the machine's own.
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setattr(Home, "runtime_base", property(
        lambda home: f"{tmp_path}/run/firkin/{os.path.basename(home.root)}"
    ))  # fmt: skip
    monkeypatch.setattr("firkin.containers.home.tidying.remove_empty_groups", lambda facts, now: None)


def test_the_runtime_directory_of_a_store_that_is_gone_goes(tmp_path: Path) -> None:
    gone, there = place(tmp_path, "gone"), place(tmp_path, "there")
    (gone / "backend.json").write_text("{}")
    assert os.readlink(gone / "store") == str(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    place(tmp_path, "next")
    assert (gone.exists(), there.exists()) == (False, True)


def test_one_where_a_monitor_listens_stays(tmp_path: Path) -> None:
    gone = place(tmp_path, "gone")
    (gone / ID[:12]).mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(gone / ID[:12] / "socket"))
        listener.listen()
        (tmp_path / "gone").rmdir()
        place(tmp_path, "next")
        assert gone.exists()
    place(tmp_path, "last")
    assert not gone.exists()


def test_one_that_does_not_say_whose_it_is_stays_while_it_is_used(tmp_path: Path) -> None:
    old, young = tmp_path / "run/firkin/old", tmp_path / "run/firkin/young"
    place(tmp_path, "first")
    for path in (old, young):
        path.mkdir()
    os.utime(old, (0, time.time() - 7200))
    place(tmp_path, "next")
    assert (old.exists(), young.exists()) == (False, True)


def test_empty_groups_go_once_they_are_old(tmp_path: Path) -> None:
    for name in (ID, "cd" * 32, "monitors"):
        (tmp_path / "firkin" / name / "inner").mkdir(parents=True)
    (tmp_path / "firkin" / ("cd" * 32) / "inner" / "cgroup.procs").write_text("17\n")
    facts = CgroupFacts(0, 2, "v2", "cgroupfs", {"": str(tmp_path)})
    remove_empty_groups(facts, time.time())
    assert len(os.listdir(tmp_path / "firkin")) == 3
    remove_empty_groups(facts, time.time() + 100)
    assert sorted(os.listdir(tmp_path / "firkin")) == ["cd" * 32, "monitors"]

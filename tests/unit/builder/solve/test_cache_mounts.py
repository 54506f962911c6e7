"""Cache mounts: which directory a command gets, what it finds there, and what it may not leave."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import pytest
from support.solving import files, open_services, step

from firkin.builder.graph.ops import CacheMount, Run
from firkin.builder.solve.cache_mounts import CacheMounts, public_id
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.result import Result
from firkin.builder.solve.services import Runtime, Services
from firkin.builder.solve.wanted import Wanted
from firkin.content.snapshot import Snapshot
from firkin.errors import Cancelled
from firkin.events import Warned

ROOT = Snapshot((), "scratch")


@pytest.fixture
def events() -> list[object]:
    return []


@pytest.fixture
def services(tmp_path: Path, events: list[object]) -> Iterator[Services]:
    runtime = Runtime(cast(Any, None), cast(Any, None))
    with open_services(tmp_path / "store", events=events, runtime=lambda: runtime) as opened:
        yield opened


def job(*inputs: Result, written: str = "RUN --mount=type=cache,id=pip") -> LayerJob:
    return LayerJob(step(2, Run(("true",)), written=written), (ROOT, *inputs), "f" * 64, Wanted())


def mount(sharing: Literal["shared", "private", "locked"] = "shared", **fields: Any) -> CacheMount:
    return CacheMount("/cache", fields.pop("id", "/pip"), sharing, **fields)


def test_the_next_command_finds_what_the_last_one_left(services: Services) -> None:
    mounts = CacheMounts(services)
    with mounts.open(mount(mode=0o700), job()) as path:
        assert os.stat(path).st_mode & 0o777 == 0o700
        Path(path, "left").write_text("1")
    with CacheMounts(services).open(mount(mode=0o700), job()) as again:
        assert again == path and os.listdir(again) == ["left"]


@pytest.mark.parametrize(
    "other",
    [mount(mode=0o700), mount(uid=5), mount(gid=5), mount(id="/npm"), mount(input=1)],
    ids=["mode", "uid", "gid", "id", "from"],
)
def test_a_mount_that_asks_for_something_else_is_another(services: Services, other: CacheMount) -> None:
    mounts = CacheMounts(services)
    with mounts.open(mount(), job()) as one, mounts.open(other, job(files(a="1"))) as two:
        assert one != two


def test_sharing_says_who_gets_which_directory(services: Services) -> None:
    mounts = CacheMounts(services)
    with mounts.open(mount(), job()) as one, mounts.open(mount(), job()) as same:
        assert one == same
        with mounts.open(mount("private"), job()) as own:
            assert own != one
    with mounts.open(mount("private"), job()) as free:
        assert free == one


@pytest.mark.parametrize(("sharing", "moves"), [("locked", False), ("shared", True)])
def test_a_locked_mount_is_waited_for_until_the_build_ends(
    services: Services, sharing: Literal["shared", "locked"], moves: bool
) -> None:
    runtime = Runtime(cast(Any, None), cast(Any, None), moves_caches=moves)
    mounts = CacheMounts(msgspec.structs.replace(services, runtime=lambda: runtime))
    with mounts.open(mount(sharing), job()) as one:
        opened: list[str] = []
        failed: list[BaseException] = []

        def wait() -> None:
            try:
                with mounts.open(mount(sharing), job()) as path:
                    opened.append(path)
            except Cancelled as error:
                failed.append(error)

        first = threading.Thread(target=wait)
        first.start()
        first.join(0.2)
        assert first.is_alive() and not opened
    first.join(10)
    assert opened == [one]
    with mounts.open(mount(sharing), job()):
        second = threading.Thread(target=wait)
        second.start()
        services.stop.set(15)
        second.join(10)
    assert len(failed) == 1


def test_a_mount_begins_empty_once_in_a_build(services: Services) -> None:
    with CacheMounts(services).open(mount(), job()) as old:
        Path(old, "left").write_text("1")
    mounts = CacheMounts(services)
    mounts.empty(mount(), (ROOT,))
    with mounts.open(mount(), job()) as new:
        assert new != old and os.listdir(new) == [] and not os.path.exists(old)
        Path(new, "kept").write_text("1")
    mounts.empty(mount(), (ROOT,))
    with mounts.open(mount(), job()) as same:
        assert same == new and os.listdir(same) == ["kept"]


def test_a_mount_that_is_in_use_is_not_emptied_under_its_user(services: Services) -> None:
    with CacheMounts(services).open(mount(), job()) as old:
        Path(old, "left").write_text("1")
        mounts = CacheMounts(services)
        mounts.empty(mount(), (ROOT,))
        assert os.listdir(old) == ["left"]
        with mounts.open(mount(), job()) as new:
            assert new != old


def test_a_mount_begins_as_a_copy_of_its_source(services: Services) -> None:
    origin = mount(mode=-1, input=1)
    with CacheMounts(services).open(origin, job(files(a="1", b="2"))) as path:
        assert sorted(os.listdir(path)) == ["a", "b"]


def test_a_link_in_its_place_is_never_handed_out(services: Services, tmp_path: Path, events: list[object]) -> None:
    mounts = CacheMounts(services)
    with mounts.open(mount(), job()) as path:
        shutil.rmtree(path)
        os.symlink(tmp_path, path)
    (told,) = events
    assert isinstance(told, Warned) and "starts empty next time" in told.message
    with mounts.open(mount(), job()) as again:
        assert not os.path.islink(again) and os.listdir(again) == []


class Caches:
    """Caches elsewhere that have no mount, and note which are used."""

    def __init__(self) -> None:
        self.used: list[str] = []

    def use_mount(self, name: str, title: str, pack: Any) -> None:
        self.used.append(title)

    def find_mount(self, name: str) -> None:
        return None


def test_caches_elsewhere_hear_of_mounts_that_are_written_to(services: Services) -> None:
    caches = Caches()
    mounts = CacheMounts(msgspec.structs.replace(services, remote=cast(Any, caches)))
    with mounts.open(mount(), job()), mounts.open(mount(readonly=True), job()):
        assert caches.used == ["pip"]
    assert public_id(mount(id="ns/secret"), "RUN --mount=type=cache,id=$ID") == "(its id is made of variables)"

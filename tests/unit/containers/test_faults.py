"""A process is killed at each of its system calls that change something; the next command finds all as it was, or done."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.boxes import make, open_box

from firkin.containers.home.engine import Engine
from firkin.containers.home.finder import is_id
from firkin.containers.remove import remove
from firkin.containers.rename import rename
from firkin.containers.volumes.make import make_volume
from firkin.containers.volumes.shelf import Volumes
from firkin.errors import ContainerError

CHANGES = ("open", "write", "mkdir", "rename", "symlink", "unlink", "rmdir", "ftruncate", "utime", "chmod")
DIED = 77


def killed_at(number: int, work: Callable[[], Any]) -> bool:
    """Do the work in a fork that ends instead of its call with this number; say whether it came that far."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == number:
                    os._exit(DIED)
                return real(*args, **options)

            return call

        code = 1
        try:
            for name in CHANGES:
                setattr(os, name, counted(getattr(os, name)))
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, DIED)
    return code == DIED


def check(engine: Engine) -> None:
    """Raise AssertionError for anything that belongs to no container."""
    engine.home.entries()
    Volumes(engine).sweep()
    ids = set(engine.home.ids())
    containers = Path(engine.home.containers)
    assert {name for name in os.listdir(containers) if not name.startswith(".new-")} == ids | {"lock", "names"}
    names = [engine.home.record(id).name for id in ids]
    assert len(set(names)) == len(names)
    for id, name in zip(ids, names):
        assert engine.home.find(name).id == id
    references = [json.loads(path.read_bytes()) for path in Path(engine.root, "references").iterdir()]
    assert {reference["name"] for reference in references} == ids
    shelf = Volumes(engine)
    held = {mount.name for id in ids for mount in engine.home.record(id).mounts}
    assert {name for name in shelf.names() if shelf.find(name).anonymous} <= held
    for name in shelf.names():
        users = os.listdir(f"{engine.root}/volumes/{name}/users")
        assert {id for id in users if is_id(id)} <= ids
        assert os.path.isdir(shelf.data(name))
    assert not [name for name in os.listdir(f"{engine.root}/volumes") if name.startswith((".new-", ".gone-"))]


FIELDS: dict[str, Any] = {"volumes": {"/data": {}}, "binds": ("named:/n",)}


def _create(engine: Engine) -> None:
    make(engine, "made", **FIELDS)


def _remove(engine: Engine) -> None:
    remove(engine, "there", volumes=True)


def _rename(engine: Engine) -> None:
    rename(engine, "there", "other")


def _make_volume(engine: Engine) -> None:
    make_volume(engine, "fresh")


def _remove_volume(engine: Engine) -> None:
    Volumes(engine).remove("free")


def _again(engine: Engine, work: Callable[[Engine], None]) -> None:
    """Do it once more; an error says that it was done."""
    try:
        work(engine)
    except ContainerError as error:
        assert error.kind in ("conflict", "missing"), error


@pytest.mark.parametrize("work", [_create, _remove, _rename, _make_volume, _remove_volume])
def test_killed_at_every_change(tmp_path: Path, work: Callable[[Engine], None]) -> None:
    number = 0
    while True:
        number += 1
        place = tmp_path / str(number)
        place.mkdir()
        engine = open_box(place)
        make(engine, "there", **FIELDS)
        make_volume(engine, "free")
        died = killed_at(number, partial(work, engine))
        make(engine, "next", binds=("named:/n",))  # a command that makes or removes something
        check(engine)
        assert engine.home.find("next")
        _again(engine, work)
        check(engine)
        if not died:
            assert number > 5
            return

"""Completes what a death interrupted: containers that were being made or removed. Does I/O.

Whoever makes or removes a container holds its lock. A `new-ID` or `gone-ID` whose lock is free belongs to nobody: the
next command that makes or removes a container deletes it, and whatever it holds elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

from firkin.containers.documents.record import Record
from firkin.containers.home.deleting import remove_files
from firkin.containers.home.engine import Engine
from firkin.containers.home.finder import is_id
from firkin.containers.home.home import same_file
from firkin.containers.keeping.layers import let_go
from firkin.containers.volumes.shelf import Volumes
from firkin.decode import decode_json
from firkin.errors import ContainerError
from firkin.linux.files import read_named
from firkin.linux.folders import remove_tree

BEGUN, NEW, GONE = ".new-", "new-", "gone-"
VOLUMES_TOO = "volumes-too"
"""The name of a mark in a container that is being removed: its anonymous volumes go as well."""
_BEGUN_S = 60.0
"""A directory whose lock was not taken yet is not older, if its maker lives."""


def sweep(engine: Engine) -> None:
    """Delete what deaths left of making and removing containers and volumes."""
    try:
        names = os.listdir(engine.home.containers)
    except FileNotFoundError:
        names = []
    for name in names:
        path = f"{engine.home.containers}/{name}"
        if name.startswith((NEW, GONE)):
            _finish(engine, path)
        elif is_id(name) and _is_lost(path):
            gone = f"{engine.home.containers}/{GONE}{name}"
            with suppress(OSError):
                os.rename(path, gone)
                _finish(engine, gone)
        elif name.startswith(BEGUN):
            with suppress(OSError):
                if time.time() - os.stat(path).st_mtime > _BEGUN_S:
                    remove_tree(path)
    Volumes(engine).sweep()


def _is_lost(place: str) -> bool:
    """Say whether a power failure took the record of a container: one that removes itself is not synced to the disk."""
    try:
        return not read_named(f"{place}/config.json").strip(b"\0")
    except FileNotFoundError:
        return os.path.isdir(place)
    except OSError:
        return False


def _finish(engine: Engine, place: str) -> None:
    path = f"{place}/lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        with suppress(OSError):
            os.rmdir(place)  # the lock is deleted last
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if same_file(descriptor, path):
            discard(engine, place)
    except BlockingIOError:
        pass  # whoever makes or removes it lives
    finally:
        os.close(descriptor)


def discard(engine: Engine, place: str) -> None:
    """Delete a container under `new-ID` or `gone-ID` with all that belongs to it; by whoever holds its lock.

    Files go last, so that what it holds elsewhere is released even if they cannot be deleted. Raises ContainerError.
    """
    kind, _, id = os.path.basename(place).partition("-")
    record = read_record(place)
    _release_volumes(Volumes(engine), place, record, id)
    let_go(engine, id)
    _remove_link(engine, record, id)
    with suppress(OSError):
        remove_tree(engine.home.runtime(id))
    for name in os.listdir(place):
        if name != "lock":  # as long as there is something, others must see that somebody deletes it
            remove_files(engine, f"{place}/{name}")
    remove_files(engine, place)
    if kind == "gone" and record is not None:
        engine.container_event("destroy", record)


def _release_volumes(volumes: Volumes, place: str, record: Record | None, id: str) -> None:
    """Release the volumes of a container, and remove those that were made for it and that nobody else will want.

    A container that was being made did not yet note its volumes: then each volume is asked.
    """
    unmade = os.path.basename(place).startswith(NEW)
    if record is None or unmade:
        used = {name: volumes.find(name).anonymous for name in volumes.used_by(id)}
    else:
        used = {mount.name: mount.anonymous for mount in record.mounts if mount.name}
    too = unmade or os.path.exists(f"{place}/{VOLUMES_TOO}")
    for name, anonymous in used.items():
        volumes.release(name, id)
        if anonymous and too:
            with suppress(ContainerError):  # another container mounts it
                volumes.remove(name, force=True)


def _remove_link(engine: Engine, record: Record | None, id: str) -> None:
    """Remove the name of a container that is no more, unless another one has it now."""
    folder = f"{engine.home.containers}/names"
    with engine.home.all_locked():
        names = os.listdir(folder)
        # One whose record cannot be read may have any name, and one whose renaming was killed may have two.
        if record is not None and len(names) <= len(engine.home.ids()) + 1:
            names = [record.name] if record.name else []
        for name in names:
            with suppress(OSError):
                if os.readlink(f"{folder}/{name}") == id and not os.path.isdir(engine.home.directory(id)):
                    os.unlink(f"{folder}/{name}")


def read_record(place: str) -> Record | None:
    """Return the record in a directory, None if it is not there or not whole."""
    try:
        return decode_json(read_named(f"{place}/config.json"), Record)
    except (OSError, ValueError, RecursionError):
        return None

"""Removes containers that do not run, and volumes that nobody mounts. Does I/O. Mirrors: moby daemon prune.go."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from firkin.containers.files.sizes import directory_sizes, written_bytes
from firkin.containers.home.engine import Engine
from firkin.containers.home.home import Entry
from firkin.containers.remove import remove
from firkin.containers.volumes.shelf import Volume, Volumes
from firkin.errors import ContainerError


class Pruned(msgspec.Struct, frozen=True):
    """Ids or names of what was removed, and the bytes that it had."""

    names: tuple[str, ...] = ()
    freed_bytes: int = 0


def prune_containers(engine: Engine, fits: Callable[[Entry], bool] = lambda entry: True) -> Pruned:
    """Remove all containers that do not run and that fit; those that were only created as well.

    Raises ContainerError (`conflict`) while another prune of containers runs.
    """
    with _alone(engine, "containers"):
        chosen = [entry.record.id for entry in engine.home.entries() if not entry.state.running and fits(entry)]
        sizes = written_bytes(engine, chosen)
        gone = []
        for id in chosen:
            try:
                remove(engine, id)
            except ContainerError as error:
                if error.kind not in ("missing", "conflict"):
                    raise
                continue  # it was started or removed meanwhile
            gone.append(id)
        engine.prune_event("container", sum(sizes[id] for id in gone))
        return Pruned(tuple(gone), sum(sizes[id] for id in gone))


def prune_volumes(
    engine: Engine, *, named: bool = False, fits: Callable[[Volume], bool] = lambda volume: True
) -> Pruned:
    """Remove volumes that no container mounts and that fit: those that nobody named, with `named` all others as well.

    Never one with options: what it shows lies elsewhere. Raises ContainerError (`conflict`) while another one runs.
    """
    shelf = Volumes(engine)
    with _alone(engine, "volumes"):
        chosen = [
            volume.name
            for volume in shelf.entries()
            if (volume.is_anonymous or named) and not volume.options and not shelf.users(volume.name) and fits(volume)
        ]
        places = {name: shelf.data(name) for name in chosen}
        sizes = directory_sizes(engine, places.values())
        gone = []
        for name in chosen:
            try:
                shelf.remove(name)
            except ContainerError as error:
                if error.kind not in ("missing", "conflict"):
                    raise
                continue
            gone.append(name)
        freed = sum(sizes[places[name]] for name in gone)
        engine.prune_event("volume", freed)
        return Pruned(tuple(gone), freed)


@contextmanager
def _alone(engine: Engine, what: str) -> Iterator[None]:
    """Be the only one that prunes; raises ContainerError (`conflict`)."""
    engine.ensure_store()
    descriptor = os.open(f"{engine.root}/prune-{what}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = "a prune operation is already running"
            raise ContainerError(message, kind="conflict", code="container-prune") from None
        yield
    finally:
        os.close(descriptor)

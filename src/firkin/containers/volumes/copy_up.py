"""Fills an empty volume with what the image has at its place. Does I/O. `create` calls it.

The files are copied beside the volume's data and renamed into place. So a copy that is interrupted leaves an empty
volume, and a rest that the next copy removes. Two containers that share a new volume fill it once: the volume's
directory is locked meanwhile. Mirrors: moby container.CopyImagePathContent.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from firkin.containers.files.inside import Inner, Place, inside
from firkin.containers.files.places import bare
from firkin.errors import ContainerError
from firkin.layer.change import Put, View
from firkin.layer.view import StackView, resolve_path
from firkin.linux.folders import remove_tree

if TYPE_CHECKING:
    from firkin.containers.documents.record import MountPoint, Record
    from firkin.containers.home.engine import Engine

STAGING = "filling"
_MODULES = ("firkin.layer.apply",)


def copy_up(engine: Engine, record: Record, points: Sequence[MountPoint]) -> None:
    """Fill the volumes of these mount points, unless they have files, or the image has nothing there.

    A volume gets contents, owners, modes, attributes, and those of the directory itself. `source` of a point is
    the volume's `data`; with a subpath nothing is copied. Raises ContainerError, also (`invalid`) where the image has
    a file.
    """
    wanted = [point for point in points if point.type == "volume" and not point.subpath and _is_empty(point.source)]
    if not wanted or not record.trees:
        return
    place = bare(engine, record, "files")._replace(writes=True)
    with inside(place, partial(_job, place, tuple(wanted), record.id), _MODULES) as session:
        session.result()


def _is_empty(folder: str) -> bool:
    try:
        return not os.listdir(folder)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # it belongs to a subordinate id; the child looks again


def _job(place: Place, points: Sequence[MountPoint], container: str, inner: Inner) -> bytes:
    view = StackView(place.trees[::-1])
    for point in points:
        path = resolve_path(view, point.destination.strip("/"))
        entry = view.lstat(path)
        if entry is not None and entry.kind != "dir":
            raise ContainerError(
                f"cannot mount volume over existing file, file exists /{path}", kind="invalid", code="mount"
            )
        if entry is not None:
            _fill(view, path, point.source, container, chown=not place.single_id)
    return b""


def _fill(view: View, path: str, data: str, container: str, *, chown: bool) -> None:
    from firkin.layer.apply import apply_changes

    volume = os.path.dirname(data)
    lock = os.open(volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.listdir(data):
            return
        staging = f"{volume}/{STAGING}"
        remove_tree(staging)
        os.mkdir(staging, 0o700)
        try:
            apply_changes(_changes(view, path), staging, form="flat", chown=chown)
            _put_in_place(staging, data, shared=_others(volume, container))
        finally:
            remove_tree(staging)
    finally:
        os.close(lock)


def _others(volume: str, container: str) -> bool:
    try:
        return bool(set(os.listdir(f"{volume}/users")) - {container})
    except FileNotFoundError:
        return False


def _put_in_place(staging: str, data: str, *, shared: bool) -> None:
    if not shared:
        os.rename(staging, data)
        return
    # Another container may have the directory mounted, so it stays, and gets its contents.
    for name in os.listdir(staging):
        os.rename(f"{staging}/{name}", f"{data}/{name}")
    status = os.stat(staging)
    os.chown(data, status.st_uid, status.st_gid)
    os.chmod(data, status.st_mode & 0o7777)


def _changes(view: View, top: str) -> Iterator[Put]:
    """Yield what is in a directory of the image, and the directory itself as the root."""
    links: dict[tuple[int, int], str] = {}
    todo = [""]
    while todo:
        path = todo.pop()
        full = f"{top}/{path}".strip("/")
        entry = view.lstat(full)
        if entry is None:
            continue
        first = path if entry.inode is None else links.setdefault(entry.inode, path)
        content = view.content(full) if entry.kind == "file" and first == path else None
        yield Put(path, entry, content, "" if first == path else first)
        if entry.kind == "dir":
            todo += [f"{path}/{name}".lstrip("/") for name in reversed(view.iterdir(full))]

"""What a container changed of its image's files: `diff`. Does I/O.

The read-write layer says where to look, and the layers below say what was there: a file that was opened for writing and
left as it was is no change. What firkin itself puts into a container (mount points, /etc/hosts) is no change either,
unlike with dockerd, which lists mount points as added. Mirrors: moby pkg/archive ChangesDirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from firkin.containers.files.inside import Inner, Place, inside
from firkin.containers.files.places import bare
from firkin.decode import decode_msgpack
from firkin.layer.change import Change, Entry, Put, Remove, View

if TYPE_CHECKING:
    from firkin.containers.documents.record import MountPoint, Record
    from firkin.containers.home.engine import Engine

MODIFIED, ADDED, DELETED = 0, 1, 2
_SECOND_NS = 1_000_000_000
_CAPABILITY = "security.capability"
STUBS = (
    ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "dev/console", "dev/pts", "dev/shm",
    "dev/mqueue", "dev", "proc", "sys", "sbin/docker-init",
)  # fmt: skip
"""What firkin puts into every container, the deepest first."""


class FileChange(NamedTuple):
    """`kind` is MODIFIED, ADDED or DELETED, as the API numbers them; `path` is absolute."""

    path: str
    kind: int

    @property
    def letter(self) -> str:
        """What `docker diff` prints."""
        return "CAD"[self.kind]


def file_changes(engine: Engine, record: Record) -> list[FileChange]:
    """Return the changes of a container, running or not, sorted by path; directories with changes are among them.

    Raises ContainerError.
    """
    place = bare(engine, record, "files")
    with inside(place, partial(_changes_job, place), ("firkin.layer.view", "os")) as session:
        pairs = decode_msgpack(b"".join(session.read()), list[tuple[bytes, int]])
    return [FileChange("/" + path.decode(errors="surrogateescape"), kind) for path, kind in pairs]


def _changes_job(place: Place, inner: Inner) -> bytes:
    import os

    from firkin.layer.scan import iter_upper_changes
    from firkin.layer.view import StackView

    upper = f"{place.directory}/upper"
    below = StackView(place.trees[::-1])
    changes = iter_upper_changes(upper, vanishing=True)
    there = partial(_is_there, upper, os.path.lexists)
    found = compare(changes, below, there, mount_points(place.mounts), owners=not place.single_id)
    pairs = [(path.encode(errors="surrogateescape"), found[path]) for path in sorted(found)]
    inner.write(msgspec.msgpack.encode(pairs))
    return b""


def _is_there(upper: str, exists: Callable[[str], bool], path: str) -> bool:
    return exists(f"{upper}/{path}")


def mount_points(mounts: Iterable[MountPoint]) -> frozenset[str]:
    """Return the paths, relative, at which something is mounted over the container's own files."""
    return frozenset((*STUBS, *(mount.destination.strip("/") for mount in mounts)))


def compare(
    changes: Iterable[Change],
    below: View,
    there: Callable[[str], bool],
    hidden: frozenset[str],
    *,
    owners: bool = True,
) -> dict[str, int]:
    """Return the kind of each path that differs between the layers `below` and the same with `changes` on top. Pure.

    `there` says whether the changes have something at a path. Paths in `hidden` count only if they were there before.
    Without `owners`, files cannot have them, and those of the layers are not compared.
    """
    found: dict[str, int] = {}
    for path, kind in _differences(changes, below, there, owners=owners):
        if kind == ADDED and path in hidden:
            continue
        found[path] = kind
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found[parent] = MODIFIED
            parent = parent.rpartition("/")[0]
    _drop_stubs(found, hidden)
    return found


def filler_folders(hidden: frozenset[str]) -> frozenset[str]:
    """Return the directories above paths."""
    parents = {path.rpartition("/")[0] for path in hidden} - {""}
    return frozenset("/".join(path.split("/")[: depth + 1]) for path in parents for depth in range(path.count("/") + 1))


def _drop_stubs(found: dict[str, int], hidden: frozenset[str]) -> None:
    """Drop the directories that were made only to hold a mount point: new ones with nothing new in them."""
    for path in sorted(filler_folders(hidden), key=len, reverse=True):
        if found.get(path) == ADDED and not any(other.startswith(path + "/") for other in found):
            del found[path]


def _differences(
    changes: Iterable[Change], below: View, there: Callable[[str], bool], *, owners: bool
) -> Iterator[tuple[str, int]]:
    for change in changes:
        path = change.path
        if type(change) is Put:
            old = below.lstat(path)
            if old is None:
                yield path, ADDED
            elif _differs(old, change.entry, owners=owners):
                yield path, MODIFIED
        elif type(change) is Remove:
            if below.lstat(path) is not None:
                yield path, DELETED
        else:
            for name in below.iterdir(path):
                if not there(f"{path}/{name}"):
                    yield f"{path}/{name}", DELETED


def _differs(old: Entry, new: Entry, *, owners: bool) -> bool:
    if (old.kind, old.mode, old.major, old.minor) != (new.kind, new.mode, new.major, new.minor):
        return True
    if owners and (old.uid, old.gid) != (new.uid, new.gid):
        return True
    if dict(old.xattrs).get(_CAPABILITY) != dict(new.xattrs).get(_CAPABILITY):
        return True
    if new.kind == "dir":
        return False  # its size and time tell only of what is in it
    return old.size != new.size or old.target != new.target or not _same_time(old.mtime_ns, new.mtime_ns)


def _same_time(one: int, two: int) -> bool:
    """Say whether two times are equal, as far as both are known: a tar may have whole seconds only."""
    if one % _SECOND_NS == 0 or two % _SECOND_NS == 0:
        return one // _SECOND_NS == two // _SECOND_NS
    return one == two

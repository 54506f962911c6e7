"""Files of a container as an archive: look at a path, read it as a tar, unpack a tar into a directory. Does I/O.

    found = path_stat(engine, record, "/etc/passwd")
    with get_archive(engine, record, "/etc") as (found, tar): ...
    put_archive(engine, record, "/srv", chunks)

They work on running and stopped containers, and see what is mounted in them. Every path is resolved once, by the kernel
and beneath the container's root (containers/files/inside.py). Spec: Engine API 1.51, /containers/{id}/archive. Mirrors:
moby daemon/archive_unix.go, pkg/archive.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from firkin.containers.files.archive_tar import TarPieces
from firkin.containers.files.inside import Inner, inside
from firkin.containers.files.owners import recorded_owners
from firkin.containers.files.places import standing
from firkin.decode import decode_msgpack
from firkin.errors import ContainerError
from firkin.linux.beneath import Beneath

if TYPE_CHECKING:
    from firkin.containers.documents.record import Record
    from firkin.containers.home.engine import Engine
    from firkin.layer.scan import OwnerOf

# Bits of Go's os.FileMode: clients tell directories and links by them.
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_TYPES = sum(1 << bit for bit in (31, 27, 26, 25, 24, 21, 19))
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class PathStat(msgspec.Struct, frozen=True, rename="camel"):
    """What X-Docker-Container-Path-Stat holds: `mode` has Go's bits, `mtime` is RFC 3339.

    `link_target` is where a symbolic link leads within the container, resolved and absolute; "" for anything else.
    """

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str = ""

    @property
    def is_folder(self) -> bool:
        return bool(self.mode & 1 << 31)

    @property
    def is_file(self) -> bool:
        return not self.mode & _GO_TYPES

    @property
    def is_link(self) -> bool:
        return bool(self.mode & 1 << 27)


def path_stat(engine: Engine, record: Record, path: str) -> PathStat:
    """Return the status of a path in a container; a link as its last part is not followed.

    Raises ContainerError: `missing` if there is no such file.
    """
    with _told(record, path), standing(engine, record, writes=False) as place:
        with inside(place, partial(_stat_job, path)) as session:
            return decode_msgpack(session.result(), PathStat)


@contextmanager
def get_archive(engine: Engine, record: Record, path: str) -> Iterator[tuple[PathStat, Iterator[bytes]]]:
    """Yield the status of a path, and a tar of it: what is beneath a directory too, under the path's last name.

    `DIR/.` gives `./` and what is in the directory. A link as the last part is not followed. Owners are numbers, times
    whole seconds; sockets are left out. Raises ContainerError, also while the tar is read.
    """
    with _told(record, path), standing(engine, record, writes=False) as place:
        with inside(place, partial(_get_job, path, recorded_owners(place))) as session:
            yield decode_msgpack(session.head(), PathStat), session.read()
    engine.container_event("archive-path", record, {"path": path})


def put_archive(
    engine: Engine,
    record: Record,
    path: str,
    chunks: Iterable[bytes],
    *,
    no_overwrite: bool = False,
    to_user: bool = False,
) -> None:
    """Unpack a tar, compressed or not, into a directory of a container, which must exist; a link to one is followed.

    `no_overwrite` refuses to replace a directory by anything else, and the reverse. `to_user` gives all files to the
    container's user; else they keep the numbers that the tar has. The stream is read to its end, unless an error comes
    first. Raises ContainerError: `missing`, or `invalid` for what is no directory, is read-only, or is no tar.
    """
    from firkin.containers.files.extracting import MODULES, Putting, put_job
    from firkin.images.intake import begin
    from firkin.layer.compress import detect_format, import_inflaters
    from firkin.layer.limits import UNPACK_LIMITS

    start, all_chunks = begin(chunks)
    if detect_format(start) != "none":
        import_inflaters()
    user = record.config.user if to_user else ""
    with _told(record, path), standing(engine, record, writes=True) as place:
        putting = Putting(
            absolute(path), no_overwrite, user, not place.single_id, place.readonly, engine.limits or UNPACK_LIMITS
        )
        with inside(place, partial(put_job, putting), MODULES) as session:
            session.feed(all_chunks)
            session.result()
    engine.container_event("extract-to-dir", record, {"path": path})


@contextmanager
def _told(record: Record, path: str) -> Iterator[None]:
    """Put errors about the path into docker's words."""
    try:
        yield
    except ContainerError as error:
        if error.code == "no-path":
            raise ContainerError(
                f"Could not find the file {error.message} in container {record.name.removeprefix('/')}",
                kind="missing", code="no-path",
            ) from None  # fmt: skip
        raise


# In the child


def absolute(path: str) -> str:
    """Return a path from the root on, without `..`; `/` or `/.` at its end stays."""
    clean = os.path.normpath("/" + path).replace("//", "/")
    if path.endswith("/.") or path == ".":
        return clean.rstrip("/") + "/."
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def last_name(path: str) -> str:
    """Return what the top of an archive of an absolute path is called."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def _stat_job(path: str, inner: Inner) -> bytes:
    path = absolute(path)
    with Beneath("/") as root:
        fd = _locate(root, path)
        try:
            return msgspec.msgpack.encode(_status(root, path, fd))
        finally:
            os.close(fd)


def _locate(root: Beneath, path: str) -> int:
    """Open an absolute path of the container (O_PATH), and make the directory of its last name the working directory.

    Raises ContainerError.
    """
    try:
        if path.endswith(("/", "/.")):
            return root.open(path, os.O_PATH | os.O_DIRECTORY)
        parent, name = root.open_parent(path)
        os.fchdir(parent)
        os.close(parent)
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ContainerError(path, kind="missing", code="no-path") from None
    except NotADirectoryError:
        raise ContainerError(f"lstat {path}: not a directory", kind="invalid", code="no-folder") from None


def _real(root: Beneath, path: str, status: PathStat) -> str:
    """Return the path of what was located, without links on the way, relative to the root."""
    if not status.is_link:
        return root.real_path(path).strip("/")
    folder = root.real_path(path.rpartition("/")[0] or "/").strip("/")
    return f"{folder}/{status.name}".strip("/")


def _beneath(base: str, name: str, owners: OwnerOf) -> OwnerOf:
    """Return the owners by the names of members, which begin with `name` where paths begin with `base`."""
    return lambda shown, uid, gid: owners(f"{base}{shown[len(name) :]}".strip("/"), uid, gid)


def _status(root: Beneath, path: str, fd: int) -> PathStat:
    found = os.fstat(fd)
    mode = found.st_mode
    bits = mode & 0o777 | _GO_KINDS.get(stat.S_IFMT(mode), 0)
    bits |= sum(go for bit, go in _GO_BITS if mode & bit)
    target = "/" + root.real_path(path) if stat.S_ISLNK(mode) else ""
    return PathStat(last_name(path), found.st_size, bits, go_time(found.st_mtime_ns), target)


def go_time(time_ns: int) -> str:
    """Return a time as Go writes it in JSON: RFC 3339 in UTC, as many digits as it needs."""
    import time

    seconds, fraction = divmod(time_ns, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + digits + "Z"


def _get_job(path: str, owners: OwnerOf | None, inner: Inner) -> bytes:
    path = absolute(path)
    with Beneath("/") as root:
        fd = _locate(root, path)
        try:
            status = _status(root, path, fd)
            inner.head(msgspec.msgpack.encode(status))
            name = "." if status.name == "/" else status.name
            tar = TarPieces(None if owners is None else _beneath(_real(root, path, status), name, owners))
            if status.is_folder:
                os.fchdir(fd)
                inner.send(tar.folder(".", name))
            else:
                inner.send(tar.file(name, name))
            inner.write(tar.end())
        finally:
            os.close(fd)
    return b""

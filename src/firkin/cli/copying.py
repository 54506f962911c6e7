"""What `cp` copies where: the table of cases, and the side of this machine. Does I/O. `cli.commands` only.

    a file       to a free name: a file of that name · to a free NAME/: an error · to a file: replaces it
                 to a directory: goes into it
    a directory  to a free name: a directory of that name · to a file: an error
                 to a directory: goes into it, `DIR/.`: what is in it does

Mirrors: docker/cli command/container/cp.go, moby/go-archive copy.go.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from firkin.containers.files.archive_tar import TarPieces
from firkin.errors import UsageError
from firkin.images.explore.targets import DirectoryTarget
from firkin.layer.tar import Member, TarReader, clean_name

_ANY = (stat.S_IFREG, stat.S_IFDIR)


class End(NamedTuple):
    """One of the two places of a copy: `container` is "" for this machine, whose path "-" is a tar on a pipe."""

    container: str
    path: str


class Thing(NamedTuple):
    """What is at a path: `name` is what a copy of it is called, `contents` says that only what is in it is meant."""

    path: str
    exists: bool
    is_folder: bool
    name: str = ""
    contents: bool = False


def split_end(text: str) -> End:
    """Return the place that `CONTAINER:PATH`, `PATH` or `-` means; what begins with `/` or `.` is a path."""
    container, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return End("", text)
    return End(container, path)


def says_folder(path: str) -> bool:
    """Say whether a path can only mean a directory."""
    return path.endswith("/") or path.rpartition("/")[2] == "."


def landing(source: Thing, dest: Thing) -> tuple[str, str]:
    """Return the existing directory that a copy is unpacked in, and its name there; "" for contents alone.

    Raises UsageError for a case that is none.
    """
    if dest.exists and dest.is_folder:
        return dest.path, "" if source.contents else source.name
    if source.is_folder:
        if dest.exists:
            raise UsageError("cannot copy directory", code="destination")
    elif not dest.exists and says_folder(dest.path):
        raise UsageError("no such directory", code="destination")
    clean = os.path.normpath(dest.path)
    return os.path.dirname(clean) or ".", os.path.basename(clean)


# This machine as the source


def local_source(path: str, *, follow: bool) -> Thing:
    """Return what is at a path of this machine; `follow` is for a link as its last part. Raises UsageError."""
    contents = path in (".", "") or path.endswith("/.")
    shown = os.path.basename(os.path.normpath(path)) if not contents else ""
    if shown in ("..", "", "."):
        shown = os.path.basename(os.path.realpath(path))
    real = os.path.realpath(path) if follow or says_folder(path) else _real_parent(path)
    try:
        is_folder = stat.S_ISDIR(os.lstat(real).st_mode)
    except OSError as error:
        raise _named("lstat", path, error) from None
    if says_folder(path) and not is_folder:
        raise UsageError("not a directory", code="source")
    return Thing(real, True, is_folder, shown, contents)


def _real_parent(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{os.path.realpath(folder or ('/' if path.startswith('/') else '.'))}/{name}"


def local_tar(source: Thing, name: str) -> Iterator[bytes]:
    """Yield a tar of a file or directory of this machine under a name; "" for what is in the directory alone."""
    tar = TarPieces()
    yield from tar.folder(source.path, name or ".") if source.is_folder else tar.file(source.path, name)
    yield tar.end()


# This machine as the destination


def local_dest(path: str) -> Thing:
    """Return what is at a path that something is copied to, links followed. Raises UsageError."""
    real = os.path.realpath(path) + ("/" if says_folder(path) else "")
    parent = os.path.dirname(real.rstrip("/")) or "/"
    if not os.path.isdir(parent):
        raise UsageError(f'invalid output path: directory "{parent}" does not exist', code="destination")
    try:
        kind = stat.S_IFMT(os.stat(real.rstrip("/") or "/").st_mode)
    except FileNotFoundError:
        return Thing(real, False, False)
    except OSError as error:
        raise _named("stat", path, error) from None
    if kind not in _ANY:
        raise UsageError(
            f'invalid output path: "{path}" must be a directory or a regular file', code="destination"
        )
    if kind != stat.S_IFDIR and says_folder(path):
        raise UsageError("not a directory", code="destination")
    return Thing(real, True, kind == stat.S_IFDIR)


def unpack_locally(chunks: Iterator[bytes], top: str, directory: str, name: str, *, chown: bool) -> DirectoryTarget:
    """Unpack a tar, whose top is called `top`, into a directory of this machine; the top is called `name` there.

    Everything appears at once, at the end. Files belong to the caller, unless `chown`. Raises UsageError.
    """
    with DirectoryTarget(directory, chown=chown, force=True) as target:
        try:
            Unpacking(target, top, name).run(TarReader(chunks))
            target.finish()
        except UsageError as error:
            if error.code != "exists":
                raise
            raise UsageError(f"cannot overwrite {error.message.split('`')[1]}: one is a directory, the other is not",
                             code="destination") from None  # fmt: skip
        except OSError as error:
            raise _named("write", directory, error) from None
    return target


class Unpacking:
    """The members of a tar on their way to a target, under another top."""

    def __init__(self, target: DirectoryTarget, top: str, name: str) -> None:
        self._target = target
        self._top = top
        self._name = name

    def run(self, reader: TarReader) -> None:
        """Read the tar to its end."""
        while (member := reader.next_member()) is not None:
            name = self._renamed(member.name)
            if name:
                self._add(name, member, reader)
        reader.drain()

    def _renamed(self, name: str) -> str:
        path = clean_name(name)
        if self._top in (".", "/"):
            return f"{self._name}/{path}".strip("/")
        return f"{self._name}/{path[len(self._top) + 1 :]}".strip("/")

    def _add(self, name: str, member: Member, reader: TarReader) -> None:
        entry = member.entry
        if member.is_link:
            self._target.link(name, self._renamed(member.link), entry)
        elif entry.kind == "file":
            self._target.file(name, entry, reader.content())
        elif entry.kind == "dir":
            self._target.folder(name, entry)
        else:
            self._target.special(name, entry)


def _named(what: str, path: str, error: OSError) -> UsageError:
    reason = (error.strerror or str(error)).lower()
    code = "source" if error.errno == errno.ENOENT else "copy"
    return UsageError(f"{what} {path}: {reason}", code=code)

"""Where extracted files go: a directory of this machine, or a tar. Does I/O. Only `images/explore/` and fronts.

A directory is made in a place beside its final one that nobody else can enter, and renamed to there when it is
complete. Nothing is written through a link: names from the image are opened one component at a time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.explore.content import Buffer
from firkin.layer.attributes import make_special, set_owner, set_xattr
from firkin.layer.change import Entry
from firkin.layer.entry import TRAILER, encode_member, padding
from firkin.linux.folders import Folders, remove_tree
from firkin.linux.sparse import SPARSE_FROM
from firkin.text import valid_text

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
_SET_IDS = 0o6000


class DirectoryTarget:
    """Makes files in an existing directory. A context manager, which removes whatever is not `finish`ed.

    `chown`: files get the owners that they have in the image, and devices are made; otherwise they belong to the
    caller, and set-id bits are dropped. `force`: what is there is replaced, and directories are merged. `skipped` has
    (name, why) of what this machine did not let us make. Raises UsageError where the directory cannot be written to,
    and OSError.
    """

    def __init__(self, directory: str, *, chown: bool, force: bool) -> None:
        self._directory = directory
        self._chown = chown
        self._force = force
        self._staging = f"{directory}/.firkin-{os.urandom(6).hex()}"
        self._folders_made: list[tuple[str, Entry]] = []
        self.skipped: list[tuple[str, str]] = []
        try:
            os.mkdir(self._staging, 0o700)
        except OSError as error:
            raise unwritable(directory, error) from error
        self._folders = Folders(self._staging)

    def __enter__(self) -> DirectoryTarget:
        return self

    def __exit__(self, *_: object) -> None:
        self._folders.__exit__()
        remove_tree(self._staging)

    def folder(self, name: str, entry: Entry) -> None:
        """Make a directory; its attributes are set at the end."""
        at, base = self._folders.split(name)
        os.mkdir(base, 0o700, dir_fd=at)
        self._folders_made.append((name, entry))

    def file(self, name: str, entry: Entry, pieces: Iterator[Buffer]) -> None:
        """Make a regular file; zeros become holes."""
        at, base = self._folders.split(name)
        fd = os.open(base, _CREATE, 0o600, dir_fd=at)
        try:
            _write(fd, entry.size, pieces)
            self._set_attributes(name, fd, entry)
        finally:
            os.close(fd)

    def link(self, name: str, first: str, entry: Entry) -> None:
        """Make a hard link."""
        source, base = self._folders.split(first)
        at, own = self._folders.split(name)
        os.link(base, own, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)

    def special(self, name: str, entry: Entry) -> None:
        """Make a symbolic link, a named pipe or a device."""
        at, base = self._folders.split(name)
        if entry.kind == "symlink":
            os.symlink(entry.target, base, dir_fd=at)
        else:
            why = "devices need root" if entry.kind != "fifo" and not self._chown else make_special(at, base, entry)
            if why:
                self.skipped.append((name, why))
                return
        if self._chown:
            set_owner(base, entry, name, dir_fd=at)
        if entry.kind != "symlink":
            os.chmod(base, self._mode(entry), dir_fd=at)
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=at, follow_symlinks=False)

    def finish(self) -> None:
        """Put everything in its place. Raises UsageError (`exists`) for a name that is taken."""
        for name, entry in reversed(self._folders_made):
            fd = self._folders.readable(name)
            try:
                self._set_attributes(name, fd, entry)
            finally:
                os.close(fd)
        with Folders(self._directory) as target:
            todo = _names(self._folders, "")
            while todo:
                todo += self._place(todo.pop(), target)

    def _place(self, path: str, target: Folders) -> list[str]:
        """Rename a file to its place, or return what is in a directory that is merged with the one there."""
        at, name = self._folders.split(path)
        there, _ = target.split(path)
        mode = os.lstat(name, dir_fd=at).st_mode
        try:
            taken = os.lstat(name, dir_fd=there).st_mode
        except FileNotFoundError:
            self._rename(path, at, there, name, mode)
            return []
        if not self._force or stat.S_ISDIR(mode) != stat.S_ISDIR(taken):
            raise exists(f"{self._directory}/{path}")
        if stat.S_ISDIR(mode):
            return _names(self._folders, path)
        try:
            os.rename(name, name, src_dir_fd=at, dst_dir_fd=there)
        except PermissionError:
            with _writable(at), _writable(there):
                os.rename(name, name, src_dir_fd=at, dst_dir_fd=there)
        return []

    def _rename(self, path: str, at: int, there: int, name: str, mode: int) -> None:
        if not stat.S_ISDIR(mode):
            if self._link(at, there, name, path):
                return
        elif mode & 0o300 != 0o300 and os.geteuid():
            # A directory gets another `..`, which is a change of itself.
            fd = self._folders.readable(path)
            try:
                os.fchmod(fd, 0o700)
                os.rename(name, name, src_dir_fd=at, dst_dir_fd=there)
                os.fchmod(fd, stat.S_IMODE(mode))
            finally:
                os.close(fd)
            return
        os.rename(name, name, src_dir_fd=at, dst_dir_fd=there)

    def _link(self, at: int, there: int, name: str, path: str) -> bool:
        """Give a file its name without replacing what appears there at this moment; False where links are refused."""
        try:
            os.link(name, name, src_dir_fd=at, dst_dir_fd=there, follow_symlinks=False)
        except FileExistsError:
            raise exists(f"{self._directory}/{path}") from None
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        os.unlink(name, dir_fd=at)
        return True

    def _mode(self, entry: Entry) -> int:
        return entry.mode if self._chown else entry.mode & ~_SET_IDS

    def _set_attributes(self, name: str, fd: int, entry: Entry) -> None:
        if self._chown:
            set_owner(fd, entry, name)
        os.fchmod(fd, self._mode(entry))
        for attribute, value in entry.xattrs:
            if why := set_xattr(fd, attribute, value, name, escape=False):
                self.skipped.append((name, why))
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))


@contextmanager
def _writable(folder: int) -> Iterator[None]:
    """Let the owner of a directory change it for a moment, whatever its mode."""
    mode = stat.S_IMODE(os.fstat(folder).st_mode)
    os.chmod(".", mode | 0o300, dir_fd=folder)
    try:
        yield
    finally:
        os.chmod(".", mode, dir_fd=folder)


def _names(folders: Folders, path: str) -> list[str]:
    fd = folders.readable(path)
    try:
        return [f"{path}/{name}" if path else name for name in os.listdir(fd)]
    finally:
        os.close(fd)


def _write(fd: int, size: int, pieces: Iterator[Buffer]) -> None:
    done = 0
    hole = False
    for piece in pieces:
        done += len(piece)
        hole = len(piece) >= SPARSE_FROM and not piece[0] and not piece[-1] and bytes(piece) == bytes(len(piece))
        if hole:
            os.lseek(fd, len(piece), os.SEEK_CUR)
            continue
        while piece:
            piece = piece[os.write(fd, piece) :]
    if hole:
        os.ftruncate(fd, done)


class TarTarget:
    """Writes a tar to `write`, which takes all that it is given. `finish` ends it."""

    def __init__(self, write: Callable[[Buffer], object]) -> None:
        self._write = write

    def folder(self, name: str, entry: Entry) -> None:
        """Add a directory."""
        self._write(encode_member(name, entry))

    def file(self, name: str, entry: Entry, pieces: Iterator[Buffer]) -> None:
        """Add a regular file. Raises ValueError if it has not as many bytes as its entry says."""
        self._write(encode_member(name, entry))
        left = entry.size
        for piece in pieces:
            left -= len(piece)
            if left >= 0:
                self._write(piece)
        if left:
            raise ValueError(f"`{valid_text(name)}` has not the {entry.size} bytes that its layer's index says")
        self._write(bytes(padding(entry.size)))

    def link(self, name: str, first: str, entry: Entry) -> None:
        """Add a hard link."""
        self._write(encode_member(name, entry, link=first))

    def special(self, name: str, entry: Entry) -> None:
        """Add a symbolic link, a named pipe or a device."""
        self._write(encode_member(name, entry))

    def finish(self) -> None:
        """End the archive."""
        self._write(TRAILER)


def place_of(dest: str, name: str) -> tuple[str, str]:
    """Return the existing directory that something goes to, and its name there ("": what is in it goes there).

    `name` is what it is called in the image, "" for the contents of a directory. As in `docker cp`: what goes to a
    directory keeps its name, anything else gets the name that `dest` ends in. Raises UsageError.
    """
    if os.path.isdir(dest):
        return dest, name
    if dest.endswith("/"):
        raise UsageError(f"`{dest}` is not there, or is no directory", code="destination")
    directory, _, last = dest.rpartition("/")
    directory = directory or ("/" if dest.startswith("/") else ".")
    if last in (".", ".."):
        raise UsageError(f"`{dest}` is not there", code="destination")
    return directory, last


def exists(path: str) -> UsageError:
    """Return the error for a name that is taken."""
    return UsageError(f"`{valid_text(path)}` is there already", code="exists", hints=(Hint.of("replace"),))


def unwritable(directory: str, error: OSError) -> UsageError:
    """Return the error for a directory that cannot be written to."""
    return UsageError(f"cannot write to `{directory}`: {(error.strerror or '').lower()}", code="destination")

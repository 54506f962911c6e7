"""A directory on this machine as a build context, filtered by its ignore file. Does I/O.

Solve and other contexts import it. Nothing outside the directory is ever read: links are ordinary entries, and
callers follow them within the view. All files belong to 0:0, as in BuildKit.
Mirrors: docker/buildx build/dockerfile.go, moby/buildkit client (excludes), tonistiigi/fsutil filter.go.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from firkin.builder.context.views import FileStat, Matcher
from firkin.errors import ContextError
from firkin.hints import Hint
from firkin.layer.change import Content, Entry, Kind
from firkin.linux.files import is_descriptor, read_beneath, read_named

IGNORE_NAME = ".dockerignore"
_CAPABILITY = "security.capability"
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "file",  # a socket is of no use without its server: it becomes an empty file
}


class DirectoryContext:
    """A View of a directory without its ignored files. `ignore_name` is the ignore file's name, for messages."""

    def __init__(self, root: str, matcher: Matcher | None = None, ignore_name: str = IGNORE_NAME) -> None:
        self.root = root
        self._matcher = matcher or None  # a matcher without patterns is false
        self._ignore_name = ignore_name
        self._states: dict[str, tuple[bool, int]] = {"": (False, 0)}
        self._shown: dict[str, bool] = {}
        self._directories = {""}

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None if it does not exist or is ignored."""
        status = self._status(path)
        if status is None or (self._matcher is not None and not self._visible(path, status)):
            return None
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if stat.S_ISREG(status.st_mode):
            xattrs = _capability(self._place(path))
        return _entry(status, self._place(path), xattrs)

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory that are not ignored, sorted by their bytes.

        Raises ContextError for a directory that cannot be read.
        """
        if self._matcher is None:
            try:
                return sorted(os.listdir(self._place(path)), key=os.fsencode)
            except OSError as error:
                raise _unreadable(self._place(path), error) from error
        return [name for name, _, _ in self._scan(path)]

    def content(self, path: str) -> Content:
        """Return the file's path on this machine; b"" for a socket."""
        place = self._place(path)
        status = self._status(path)
        return b"" if status is not None and stat.S_ISSOCK(status.st_mode) else place

    def children(self, path: str) -> list[tuple[str, Entry, FileStat | None]]:
        """Return the names in a directory with entry and stat, sorted by their bytes."""
        found: list[tuple[str, Entry, FileStat | None]] = []
        for name, place, status in self._scan(path):
            entry = _entry(status, place, ())
            if stat.S_ISREG(status.st_mode):
                found.append((name, entry, _file_stat(place, status)))
            else:
                found.append((name, entry, None))
        return found

    def file_stat(self, path: str) -> FileStat | None:
        """Return the stat that identifies this version of a regular file."""
        status = self._status(path)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return _file_stat(self._place(path), status)

    def exclusion_reason(self, path: str) -> str:
        """Return the ignore file's name if it hides a file that exists, else ""."""
        if self._matcher is None:
            return ""
        status = self._status(path)
        return self._ignore_name if status is not None and not self._visible(path, status) else ""

    # below: the walk

    def _place(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _status(self, path: str) -> os.stat_result | None:
        """Return lstat, or None if the path does not exist or leads through a link."""
        try:
            status = os.lstat(self._place(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(self._place(path), error) from error
        parent = path.rpartition("/")[0]
        return status if parent in self._directories or self._is_directory(parent) else None

    def _is_directory(self, path: str) -> bool:
        """Say whether a path and all parts of it are directories, not links."""
        for part in unknown_parts(path, self._directories):
            try:
                if not stat.S_ISDIR(os.lstat(self._place(part)).st_mode):
                    return False
            except (FileNotFoundError, NotADirectoryError):
                return False  # it was removed meanwhile
            self._directories.add(part)
        return True

    def _scan(self, path: str) -> list[tuple[str, str, os.stat_result]]:
        """Return (name, path on this machine, stat) of each visible entry of a directory, sorted."""
        place = self._place(path)
        found = []
        matcher = self._matcher
        state = self._state(path)[1] if matcher is not None else 0
        base = path + "/" if path else ""
        try:
            with os.scandir(place) as entries:
                for item in entries:
                    name = item.name
                    if matcher is not None:
                        ignored, own = matcher.match(base + name, state)
                        is_dir = item.is_dir(follow_symlinks=False)
                        if ignored and not (is_dir and self._shows(base + name, own)):
                            continue
                        if is_dir:
                            self._states[base + name] = (ignored, own)
                    try:
                        found.append((name, item.path, item.stat(follow_symlinks=False)))
                    except FileNotFoundError:
                        continue  # it was removed since the directory was read
        except NotADirectoryError:
            return []
        except OSError as error:
            raise _unreadable(place, error) from error
        found.sort(key=_by_bytes)
        return found

    def _state(self, path: str) -> tuple[bool, int]:
        """Return whether a path is ignored, and the matcher's state for entries below it."""
        if self._matcher is None:
            return False, 0
        return matched(path, self._matcher, self._states)

    def _visible(self, path: str, status: os.stat_result) -> bool:
        ignored, own = self._state(path)
        if not ignored:
            return True
        return stat.S_ISDIR(status.st_mode) and self._shows(path, own)

    def _shows(self, path: str, state: int) -> bool:
        """Say whether an ignored directory has an entry that a `!` pattern re-includes."""
        return self._matcher is not None and shows_something(path, state, self._matcher, self._listed, self._shown)

    def _listed(self, path: str) -> list[tuple[str, bool]]:
        try:
            with os.scandir(self._place(path)) as entries:
                return [(item.name, item.is_dir(follow_symlinks=False)) for item in entries]
        except OSError as error:
            raise _unreadable(self._place(path), error) from error


def unknown_parts(path: str, known: Container[str]) -> list[str]:
    """Return those of a path and the directories above it that are not in `known`, the highest first, without ""."""
    parts = []
    while path and path not in known:
        parts.append(path)
        path = path.rpartition("/")[0]
    return parts[::-1]


def matched(path: str, matcher: Matcher, states: dict[str, tuple[bool, int]]) -> tuple[bool, int]:
    """Return whether a path is ignored, and the matcher's state for entries below it; `states` caches both."""
    for part in unknown_parts(path, states):
        states[part] = matcher.match(part, states[part.rpartition("/")[0]][1])
    return states[path]


def shows_something(
    path: str,
    state: int,
    matcher: Matcher,
    listed: Callable[[str], Iterable[tuple[str, bool]]],
    shown: dict[str, bool],
) -> bool:
    """Say whether an ignored directory, whose matcher state is given, has an entry that a `!` pattern re-includes.

    `listed` gives name and "is a directory" for each entry of a directory; `shown` caches results.
    """
    if not matcher.may_reinclude(path):
        return False
    if path in shown:
        return shown[path]
    inside = [(path, state, iter(listed(path)))]
    while inside:
        above, state, items = inside[-1]
        for name, is_dir in items:
            below = f"{above}/{name}" if above else name
            ignored, own = matcher.match(below, state)
            if not ignored or shown.get(below):
                shown.update((part, True) for part, _, _ in inside)
                return True
            if is_dir and below not in shown and matcher.may_reinclude(below):
                inside.append((below, own, iter(listed(below))))
                break
        else:
            shown[above] = False
            inside.pop()
    return False


def _by_bytes(item: tuple[str, str, os.stat_result]) -> bytes:
    return os.fsencode(item[0])


def _entry(status: os.stat_result, place: str, xattrs: tuple[tuple[str, bytes], ...]) -> Entry:
    mode = status.st_mode
    kind = _KINDS[stat.S_IFMT(mode)]
    if kind == "file":
        size = status.st_size if stat.S_ISREG(mode) else 0
        inode = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        return Entry("file", mode & 0o7777, 0, 0, size, status.st_mtime_ns, "", 0, 0, xattrs, inode)
    if kind == "dir":
        return Entry("dir", mode & 0o7777, 0, 0, 0, status.st_mtime_ns)
    if kind == "symlink":
        try:
            target = os.readlink(place)
        except OSError as error:
            raise _unreadable(place, error) from error
        return Entry("symlink", 0o777, 0, 0, 0, status.st_mtime_ns, target)
    device = status.st_rdev if kind in ("char", "block") else 0
    return Entry(kind, mode & 0o7777, 0, 0, 0, status.st_mtime_ns, "", os.major(device), os.minor(device))


def _file_stat(place: str, status: os.stat_result) -> FileStat:
    return FileStat(place, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def _capability(place: str) -> tuple[tuple[str, bytes], ...]:
    """Return the only extended attribute that BuildKit's layers have, if the file has it."""
    try:
        if _CAPABILITY in os.listxattr(place, follow_symlinks=False):
            return ((_CAPABILITY, os.getxattr(place, _CAPABILITY, follow_symlinks=False)),)
    except OSError:  # unreadable, removed, or no such attributes: reading the content reports the first two
        pass
    return ()


def _unreadable(place: str, error: OSError) -> ContextError:
    return ContextError(f"cannot read {place}: {(error.strerror or '').lower()}", code="context-unreadable")


class Texts(NamedTuple):
    """A Dockerfile with its ignore file; `ignore` is None if there is none."""

    name: str
    dockerfile: bytes
    ignore_name: str
    ignore: bytes | None


def read_texts(root: str, dockerfile: str) -> Texts:
    """Read the Dockerfile at an absolute path, and the ignore file for a context at `root`.

    `<Dockerfile>.dockerignore` beside the Dockerfile takes precedence over the context's `.dockerignore`. Links are
    followed inside the context, or inside the directory of a Dockerfile that is not in it. Raises ContextError.
    """
    if is_descriptor(dockerfile):
        try:
            return Texts(dockerfile, read_named(dockerfile), *read_ignore_file(root))
        except OSError as error:
            raise _unreadable(dockerfile, error) from error
    place = dockerfile
    directory, _, name = dockerfile.rpartition("/")
    if name == "Dockerfile" and not os.path.lexists(place) and os.path.lexists(f"{directory}/dockerfile"):
        place = f"{directory}/dockerfile"
    text = read_text(*_home_of(root, place))
    if text is None:
        behind = " inside the context" if os.path.lexists(place) else ""
        raise ContextError(
            f"cannot find the Dockerfile: {place} does not exist{behind}",
            code="dockerfile-missing",
            hints=("a link on the way leads out of the context",) if behind else (Hint.of("dockerfile"),),
        )
    return Texts(place, text, *read_ignore_file(root, place))


def read_ignore_file(root: str, dockerfile: str = "") -> tuple[str, bytes | None]:
    """Return name and text of the ignore file for a context; the text is None if there is no such file."""
    if dockerfile:
        own = dockerfile + ".dockerignore"
        text = read_text(*_home_of(root, own))
        if text is not None:
            return own.rpartition("/")[2], text
    return IGNORE_NAME, read_text(root, IGNORE_NAME)


def _home_of(root: str, place: str) -> tuple[str, str]:
    """Return the directory that a file's links must stay in (the context, or its own one), and its path there."""
    prefix = root.rstrip("/") + "/"
    if place.startswith(prefix):
        return root, place[len(prefix) :]
    directory, _, name = place.rpartition("/")
    return directory or "/", name


def read_text(root: str, path: str) -> bytes | None:
    """Return the bytes of a file in a directory, None if it does not exist; links are followed inside the directory.

    Raises ContextError for a link that leads out of it, for anything but a regular file (reading it could block
    forever), and for a huge one. Mirrors: tonistiigi/fsutil FollowLinks, as BuildKit's client reads a Dockerfile.
    """
    place = f"{root.rstrip('/')}/{path}"
    try:
        return read_beneath(root, path)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise _unreadable(place, error) from error
        if os.path.islink(place):
            raise ContextError(
                f"cannot read {place}: it is a link to `{os.readlink(place)}`, which is not in {root}",
                code="context-link",
                hints=(Hint.of("dockerfile-link"),),
            ) from None
        return None


def open_directory(root: str, matcher: Callable[[bytes, str], Matcher]) -> DirectoryContext:
    """Return a directory as a context, filtered by its own `.dockerignore`. Raises ContextError for no directory."""
    if not os.path.isdir(root):
        what = "is not a directory" if os.path.lexists(root) else "does not exist"
        raise ContextError(f"the build context {root} {what}", code="context-missing")
    name, text = read_ignore_file(root)
    return DirectoryContext(root, matcher(text, name) if text is not None else None, name)

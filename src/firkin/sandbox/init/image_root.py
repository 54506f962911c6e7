"""Paths of an image, resolved from outside of it. Does I/O.

A part of the stand-alone program `init`; all parts share its global names. An image decides where its links lead, and
a command may replace every directory by a link while it runs. So a path is walked once, from the descriptor of the
root, one component at a time. The kernel never resolves links, nor `..`, which leads from `/` to whatever is mounted
over it. The walk returns an open directory and a name in it; undoing uses these and never looks up the path again.
"""

from __future__ import annotations

import os

LINKS = 40
O_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
O_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
EINVAL, EBUSY, ELOOP = 22, 16, 40


class Walk:
    """The state of a walk from a root: directories held open, their names, and the missing names after them."""

    def __init__(self, root: int) -> None:
        self.held = [os.dup(root)]
        self.names: list[str] = []
        self.missing: list[str] = []
        self.at_file = False  # the last name is a file, so nothing can come after it

    def step(self, part: str, path: str) -> str | None:
        """Go on to a part of a path; if it is a link, return its text instead. Raises NotADirectoryError."""
        if self.at_file:
            raise NotADirectoryError(20, "not a directory", path)
        if part == "..":
            self.up()
        elif self.missing:
            self.missing.append(part)
        else:
            return self.enter(part)
        return None

    def enter(self, part: str) -> str | None:
        text = None
        try:
            self.held.append(os.open(part, O_FOLDER, dir_fd=self.held[-1]))
            self.names.append(part)
        except FileNotFoundError:
            self.missing.append(part)
        except NotADirectoryError:
            text = read_link(part, self.held[-1])
            if text is None:
                self.missing.append(part)
                self.at_file = True
        return text

    def up(self) -> None:
        if self.missing:
            self.missing.pop()
        elif self.names:
            self.names.pop()
            os.close(self.held.pop())

    def restart(self) -> None:
        self.names.clear()
        while len(self.held) > 1:
            os.close(self.held.pop())


class Root:
    """The root of a command: finds places in it, makes missing files, and removes those again."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        # Directory, name in it, and the made file, held open so that no other file gets its inode.
        self.made: list[tuple[int, str, int]] = []

    def find(self, path: str) -> tuple[int, list[str]]:
        """Return an existing directory and the names after it: the missing directories, then the last component.

        The last component is not a link if it exists. The caller owns the descriptor. Raises OSError.
        """
        todo = path.split("/")[::-1]
        links = 0
        walk = Walk(self.fd)
        try:
            while todo:
                part = todo.pop()
                text = None if part in ("", ".") else walk.step(part, path)
                if text is None:
                    continue
                links += 1
                if links > LINKS:
                    raise OSError(ELOOP, "too many links", path)
                if text.startswith("/"):
                    walk.restart()
                todo += text.split("/")[::-1]
            if not walk.missing:
                if not walk.names:
                    raise OSError(EBUSY, "this is the root", path)
                last = walk.names[-1]
                walk.up()
                walk.missing.append(last)
            return walk.held.pop(), walk.missing
        finally:
            for fd in walk.held:
                os.close(fd)

    def ensure(self, path: str, *, directory: bool | None) -> tuple[int, str]:
        """Return the directory and name that `path` leads to; makes the missing directories above it.

        If the path itself is missing, it is made as a directory or a file, or not at all with `directory` None.
        """
        parent, rest = self.find(path)
        name = rest.pop()
        for each in rest:
            self.make(parent, each, directory=True)
            parent = os.open(each, O_FOLDER, dir_fd=parent)
        if directory is not None and look(parent, name) is None:
            self.make(parent, name, directory=directory)
        return parent, name

    def make(self, parent: int, name: str, *, directory: bool) -> None:
        """Make an empty directory or file that `take_away` removes again; the times of its parent stay."""
        times = times_of(parent)
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
        set_times(parent, times)
        self.made.append((parent, name, os.open(name, O_ANY, dir_fd=parent)))

    def take_away(self, since: int = 0, uncover: object = None) -> None:
        """Remove made files that are still in place and empty; others have become part of the layer.

        The first `since` made files stay; `uncover(parent, name)` unmounts what is mounted there.
        """
        while len(self.made) > since:
            parent, name, made = self.made.pop()
            # The parent's time was restored at once, so any later change of it is the command's.
            times = times_of(parent)
            if callable(uncover):
                uncover(parent, name)
            status = look(parent, name)
            if status is None or not is_same(status, made):
                continue
            try:
                if status.st_mode & 0o170000 == 0o040000:
                    os.rmdir(name, dir_fd=parent)
                elif not status.st_size:
                    os.unlink(name, dir_fd=parent)
                set_times(parent, times)
            except OSError:
                continue  # it is not empty


def read_link(name: str, parent: int) -> str | None:
    """Return the text of a link, None for anything else."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        return None


def look(parent: int, name: str) -> os.stat_result | None:
    """Return the status of a name in a directory, None if it does not exist."""
    try:
        return os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return None


def is_same(status: os.stat_result, fd: int) -> bool:
    """Return whether a status is that of the file behind a descriptor."""
    held = os.fstat(fd)
    return (status.st_dev, status.st_ino) == (held.st_dev, held.st_ino)


def times_of(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_atime_ns, status.st_mtime_ns


def set_times(folder: int, times: tuple[int, int]) -> None:
    try:
        os.utime(".", ns=times, dir_fd=folder)
    except FileNotFoundError:
        pass  # the command has removed the directory


def make_all(path: str) -> tuple[str, ...]:
    """Make a directory and the missing ones above it; return the made ones, the top first.

    os.makedirs recurses for each part: a Dockerfile can name more parts than Python has stack for.
    """
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        os.mkdir(path, 0o755)
    return tuple(reversed(missing))

"""Paths inside a root that must not lead out of it. Does I/O. Any module above `linux` may import it.

A root is a directory whose contents are not trusted: a layer, a context, an image. `..` and links in it are
resolved as in a process whose `/` is this root. The kernel does that with openat2(2), RESOLVE_IN_ROOT.
If a seccomp filter older than the call refuses it, this module walks the path itself, one component at a
time, with O_NOFOLLOW, so that nobody can swap a directory for a link between check and use.
"""

from __future__ import annotations

import errno
import os
import stat

from firkin.linux import syscalls

_MAX_LINKS = 40  # as the kernel's own walk
_ATTEMPTS = 16
_NO_OPENAT2 = (errno.ENOSYS, errno.EPERM)

_kernel_walk = True


class Beneath:
    """One root, held open. Use as a context manager. Paths are relative to it; a leading `/` is ignored.

    `follow` applies to the last component only: other links are always followed, inside the root.
    Every method raises OSError like the plain call.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Beneath:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def open(self, path: str, flags: int, mode: int = 0o644, *, follow: bool = True) -> int:
        """Open `path` and return the descriptor; with O_CREAT a link as the last component is refused."""
        if flags & os.O_CREAT:
            parent, name = self.open_parent(path)
            try:
                return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent)
            finally:
                os.close(parent)
        return self._resolve(path, flags if follow else flags | os.O_NOFOLLOW)

    def open_parent(self, path: str, *, create: int | None = None) -> tuple[int, str]:
        """Return a descriptor of the directory that holds the last component, and that component.

        With `create`, a mode, missing directories are made. `path` must end in a name. Raises OSError.
        """
        head, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            raise OSError(errno.EINVAL, "not a name inside the root", path)
        if create is not None:
            return self.make_directories(head, create), name
        return self._resolve(head, os.O_PATH | os.O_DIRECTORY), name

    def make_directories(self, path: str, mode: int = 0o755) -> int:
        """Make the directories of `path` that are missing; return a descriptor of the last one."""
        current = os.dup(self._fd)
        done = ""
        for part in path.split("/"):
            if part in ("", "."):
                continue
            done = f"{done}/{part}"
            try:
                following = self._resolve(done, os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                try:
                    os.mkdir(part, mode, dir_fd=current)
                    following = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
                except OSError as error:
                    # The component is a broken link: its target is not made, because nobody would expect that.
                    os.close(current)
                    error.filename = path
                    raise
            except OSError:
                os.close(current)
                raise
            os.close(current)
            current = following
        return current

    def lstat(self, path: str) -> os.stat_result:
        """Return the status of `path`; a link as the last component is not followed."""
        fd = self._resolve(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Say whether `path` exists, also as a broken link."""
        try:
            self.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def read(self, path: str, limit_bytes: int) -> bytes:
        """Return the first `limit_bytes` of a regular file; b"" where there is none."""
        try:
            fd = self._resolve(path, os.O_RDONLY | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return b""
            return file.read(limit_bytes)

    def real_path(self, path: str) -> str:
        """Return `path` with every link resolved inside the root, relative to it; it need not exist."""
        return _walk(self._fd, path, os.O_PATH, missing_ok=True)[1]

    def _resolve(self, path: str, flags: int) -> int:
        global _kernel_walk
        resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        # While anything on the machine is renamed or mounted, the kernel fails for paths with `..`: EAGAIN. If that
        # goes on, the walk by hand still works.
        for _ in range(_ATTEMPTS if _kernel_walk else 0):
            try:
                return syscalls.openat2(self._fd, path.lstrip("/") or ".", flags, resolve=resolve)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    continue
                if error.errno not in _NO_OPENAT2:
                    raise
                _kernel_walk = error.errno == errno.EPERM and _openat2_works(self._fd)
                if _kernel_walk:
                    raise
                break
        fd, _ = _walk(self._fd, path, flags, missing_ok=False)
        return fd


def _openat2_works(fd: int) -> bool:
    try:
        os.close(syscalls.openat2(fd, ".", os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT))
    except OSError:
        return False
    return True


class _Walk:
    """A walk by hand: the open directories from the root down, and the names of the path so far, missing ones last."""

    def __init__(self, root_fd: int, path: str, *, missing_ok: bool) -> None:
        self.held = [os.dup(root_fd)]
        self.names: list[str] = []
        self._path = path
        self._missing_ok = missing_ok

    def step(self, part: str, *, last: bool, follow: bool) -> str | None:
        """Go on to a part of the path. If it is a link to follow, return its target instead."""
        if part == "..":
            self._up()
            return None
        if len(self.held) < len(self.names) + 1:
            self.names.append(part)  # its parent is missing, so it is missing, too
            return None
        try:
            fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.held[-1])
        except FileNotFoundError:
            if not self._missing_ok:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path) from None
            self.names.append(part)
            return None
        mode = os.fstat(fd).st_mode
        if stat.S_ISLNK(mode) and follow:
            text = os.readlink("", dir_fd=fd)
            os.close(fd)
            return text
        self.names.append(part)
        self.held.append(fd)
        if not last and not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._path)
        return None

    def _up(self) -> None:
        if self.names:
            self.names.pop()
            if len(self.held) > len(self.names) + 1:
                os.close(self.held.pop())

    def restart(self) -> None:
        """Go back to the root."""
        while len(self.held) > 1:
            os.close(self.held.pop())
        self.names.clear()


def _walk(root_fd: int, path: str, flags: int, *, missing_ok: bool) -> tuple[int, str]:
    """Walk by hand; return the opened descriptor (-1 with `missing_ok`) and the resolved path."""
    walk = _Walk(root_fd, path, missing_ok=missing_ok)
    todo = _parts(path)
    last_link = bool(flags & os.O_NOFOLLOW) and not path.endswith("/")
    links = 0
    try:
        while todo:
            part = todo.pop()
            last = not todo
            text = walk.step(part, last=last, follow=not (last and last_link))
            if text is None:
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if text.startswith("/"):
                walk.restart()
            todo += _parts(text)
        return (-1 if missing_ok else _reopen(walk.held[-1], flags, path)), "/".join(walk.names)
    finally:
        for fd in walk.held:
            os.close(fd)


def _parts(path: str) -> list[str]:
    """Return the parts of a path, the last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _reopen(fd: int, flags: int, path: str) -> int:
    """Open the file of an O_PATH descriptor again, with real flags."""
    mode = os.fstat(fd).st_mode
    if flags & os.O_DIRECTORY and not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if flags & os.O_PATH:
        return os.dup(fd)
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return os.open(f"/proc/self/fd/{fd}", flags & ~os.O_NOFOLLOW | os.O_CLOEXEC)

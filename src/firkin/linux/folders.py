"""Opens directories beneath a root component by component and holds their descriptors; removes trees. Does I/O. Any
module above `linux` may import it.

For trees that are made from untrusted names: the kernel gets one component at a time, relative to the descriptor of
its parent directory, and refuses a link. So no name leads out of the root, whatever is in it by now, and a path may be
longer than PATH_MAX.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST = 64  # open descriptors of one tree that is being made
_DEEP = 64  # open descriptors of one removal


class Folders:
    """Descriptors of directories beneath a root. Use as a context manager. Not thread-safe.

    Paths are relative to the root, "" is the root itself. Every method raises OSError: NotADirectoryError where a
    component is a link or a file.
    """

    def __init__(self, root: str) -> None:
        self._held = {"": os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}
        self._last = ""
        self._last_fd = self._held[""]

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def open(self, path: str) -> int:
        """Return an O_PATH descriptor of a directory; it and that of the last call stay open until the next call."""
        if path == self._last:
            return self._last_fd
        fd = self._held.get(path)
        if fd is None:
            if len(self._held) >= _MOST:
                self._let_go()
            fd = self._walk(path)
        self._last, self._last_fd = path, fd
        return fd

    def split(self, path: str) -> tuple[int, str]:
        """Return the descriptor of the directory that holds `path`, and the last component."""
        folder, slash, name = path.rpartition("/")
        _check(folder, slash, name)
        return self.open(folder), name

    def readable(self, path: str, *, own: bool = True) -> int:
        """Return a new descriptor of a directory for listing and changing it; the caller closes it.

        With `own`, a directory of this user whose mode forbids that gets another mode.
        """
        if not path:
            return os.open(".", _LIST, dir_fd=self._held[""])
        parent, name = self.split(path)
        return _open_listing(name, parent) if own else os.open(name, _LIST, dir_fd=parent)

    def forget(self, path: str) -> None:
        """Close the descriptors of a directory that was removed, and of those beneath it."""
        beneath = path + "/"
        for known in [known for known in self._held if known == path or known.startswith(beneath)]:
            os.close(self._held.pop(known))
        self._last, self._last_fd = "", self._held[""]

    def _walk(self, path: str) -> int:
        above = path
        names: list[str] = []
        while above not in self._held:
            above, slash, name = above.rpartition("/")
            _check(above, slash, name)
            names.append(name)
        fd = self._held[above]
        passing = -1  # a directory too far up to be kept open
        try:
            while names:
                name = names.pop()
                following = os.open(name, _FOLDER, dir_fd=fd)
                if passing >= 0:
                    os.close(passing)
                    passing = -1
                fd = following
                above = f"{above}/{name}" if above else name
                if len(names) < _MOST // 4:
                    self._held[above] = fd
                else:
                    passing = fd
        except OSError as error:
            if passing >= 0:
                os.close(passing)
            error.filename = path
            raise
        return fd

    def _let_go(self) -> None:
        """Close the older half of the descriptors, except the last one returned."""
        for known in list(self._held)[1 : _MOST // 2]:
            if known != self._last:
                os.close(self._held.pop(known))


def _check(folder: str, slash: str, name: str) -> None:
    if name in ("", ".", "..") or (slash and not folder):
        raise NotADirectoryError(errno.ENOTDIR, "not a name in a directory", f"{folder}{slash}{name}")


def _open_listing(name: str, dir_fd: int | None) -> int:
    """Open a directory for listing and changing; a link is refused. Changes the mode of an own one that forbids it."""
    try:
        fd = os.open(name, _LIST, dir_fd=dir_fd)
    except PermissionError:
        held = os.open(name, _FOLDER, dir_fd=dir_fd)
        try:
            os.chmod(f"/proc/self/fd/{held}", 0o700)
        finally:
            os.close(held)
        fd = os.open(name, _LIST, dir_fd=dir_fd)
    return fd


def iter_statuses(path: str) -> Iterator[os.stat_result]:
    """Yield the status of a directory and of everything beneath it, however deep; links are not followed.

    Files that vanish meanwhile and directories that cannot be listed are skipped. Raises OSError for `path` itself.
    """
    with Folders(path) as folders:
        yield os.stat(path)
        todo = [""]
        while todo:
            folder = todo.pop()
            try:
                fd = folders.readable(folder, own=False)
            except (FileNotFoundError, PermissionError, NotADirectoryError):
                continue
            try:
                with os.scandir(fd) as found:
                    for item in found:
                        try:
                            status = item.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        yield status
                        if stat.S_ISDIR(status.st_mode):
                            todo.append(f"{folder}/{item.name}" if folder else item.name)
            finally:
                os.close(fd)


def copy_attributes(source: str, target: str) -> None:
    """Give a directory the owner, mode and times of another. An owner that has no id here stays as it is.

    Overlayfs shows those of the upper directory as those of `/`. Raises OSError.
    """
    info = os.stat(source)
    try:
        os.chown(target, info.st_uid, info.st_gid)
    except OSError:
        pass  # the owner has no id in this user namespace
    os.chmod(target, info.st_mode & 0o7777)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def remove_tree(path: str, *, dir_fd: int | None = None) -> None:
    """Remove a file, or a directory with everything beneath it, however deep; does nothing if it is missing.

    Links are not followed. Directories whose mode forbids changes get another mode first. Raises OSError.
    """
    try:
        os.unlink(path, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except OSError:
        try:
            mode = os.lstat(path, dir_fd=dir_fd).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            raise
    try:
        top = _open_own(path, dir_fd)
    except FileNotFoundError:
        return  # another process removed it at the same time
    try:
        while _empty(top):
            pass
    finally:
        os.close(top)
    _rmdir(path, dir_fd)


def _empty(top: int) -> bool:
    """Remove the contents of a directory. What is too deep is moved up into it: then return True, for another call."""
    more = False
    fds = [top]
    names = [""]
    lists = [_scan(top)]
    try:
        while lists:
            fd, items = fds[-1], lists[-1]
            while items:
                name, is_folder = items.pop()
                if not is_folder:
                    _unlink(name, fd)
                elif len(fds) < _DEEP:
                    try:
                        child = _open_own(name, fd)
                    except FileNotFoundError:
                        continue
                    fds.append(child)
                    names.append(name)
                    lists.append(_scan(child))
                    break
                else:
                    more = True
                    os.close(_open_own(name, fd))  # moving a directory writes into it, too
                    os.rename(name, f".deep-{os.urandom(8).hex()}", src_dir_fd=fd, dst_dir_fd=top)
            else:
                lists.pop()
                name = names.pop()
                fds.pop()
                if fds:
                    os.close(fd)
                    _rmdir(name, fds[-1])
    finally:
        for fd in fds[1:]:
            os.close(fd)
    return more


def _open_own(name: str, dir_fd: int | None) -> int:
    fd = _open_listing(name, dir_fd)
    mode = os.fstat(fd).st_mode
    if mode & 0o700 != 0o700:
        try:
            os.fchmod(fd, 0o700)
        except PermissionError:
            pass  # another user's directory; removing its contents fails if that matters
    return fd


def _scan(fd: int) -> list[tuple[str, bool]]:
    with os.scandir(fd) as found:
        return [(item.name, item.is_dir(follow_symlinks=False)) for item in found]


def _unlink(name: str, dir_fd: int) -> None:
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass


def _rmdir(name: str, dir_fd: int | None) -> None:
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass

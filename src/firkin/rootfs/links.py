"""Separates hard links of lower layers in a plain directory, as overlayfs does. Does I/O. `flat` uses it.

On an overlay, a write changes a copy under the one name that was written to; other names of the file keep the old
contents. In a plain directory, each name therefore gets its own file when a layer is unpacked. Files whose copies would
take too much space (a busybox with 300 names) stay linked and are watched: inotify(7) reports the name by which a file
was changed; stat cannot.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator

from firkin.layer.change import Change, Put
from firkin.linux import syscalls

_SMALL = 16 << 20  # bytes of all copies of one file
_MOST = 64 << 20  # bytes of all copies in one tree
_EVENT = struct.Struct("iIII")


class Links:
    """The names of one tree that are hard links in its lower layers and still share a file."""

    def __init__(self, root: str) -> None:
        self.shared: set[str] = set()
        self._root = root
        self._spent = 0
        self._watch: _Watch | None = None
        self._made: list[Put] = []

    def apart(self, changes: Iterable[Change], tree: str) -> Iterator[Change]:
        """Pass on the changes of layer `tree`; replace hard links by copies as far as the limits allow."""
        copied: dict[str, bool] = {}
        for change in changes:
            if type(change) is not Put or not change.link:
                yield change
                continue
            first = change.link
            if first not in copied:
                copied[first] = self._may_copy(change.entry.size, os.lstat(f"{tree}/{first}").st_nlink - 1)
            if copied[first]:
                content = f"{tree}/{first}" if change.entry.kind == "file" else None
                yield Put(change.path, change.entry, content)
            else:
                self.shared.update((change.link, change.path))
                yield change

    def watch(self) -> None:
        """Begin to record the names by which shared files are changed."""
        self.shared = {path for path in self.shared if _is_linked(f"{self._root}/{path}")}
        self._watch = _Watch(self._root, self.shared) if self.shared else None

    def changed(self) -> frozenset[str] | None:
        """Return the names by which shared files were changed since `watch`, None if that is not known."""
        watch, self._watch = self._watch, None
        return frozenset() if watch is None else watch.names()

    def separate(self, changes: Iterable[Change]) -> Iterator[Change]:
        """Pass on the changes of a step; if two names of a shared file were changed, make them two files."""
        self._made = []
        for change in changes:
            if type(change) is Put and change.link:
                if change.link in self.shared and change.path in self.shared:
                    yield Put(change.path, change.entry, self._content(change, change.path))
                    continue
                self._made.append(change)
            yield change

    def copies(self) -> list[Put]:
        """Return files that replace the links seen by `separate`: for the next step they belong to a lower layer."""
        found = []
        count = Counter(put.link for put in self._made)
        sizes = {put.link: put.entry.size for put in self._made}
        small = {link for link, size in sizes.items() if self._may_copy(size, count[link])}
        for put in self._made:
            if put.link in small:
                found.append(Put(put.path, put.entry, self._content(put, put.link)))
            else:
                self.shared.update((put.link, put.path))
        self._made = []
        return found

    def _content(self, put: Put, path: str) -> str | None:
        return f"{self._root}/{path}" if put.entry.kind == "file" else None

    def _may_copy(self, size: int, copies: int) -> bool:
        if size * copies > _SMALL or self._spent + size * copies > _MOST:
            return False
        self._spent += size * copies
        return True


class _Watch:
    """An inotify watch on the directories of some names."""

    def __init__(self, root: str, paths: set[str]) -> None:
        self._fd = -1
        self._folders: dict[int, str] = {}
        self._known = True
        try:
            self._fd = syscalls.inotify_init()
            for folder in {path.rpartition("/")[0] for path in paths}:
                number = syscalls.inotify_add_watch(self._fd, f"{root}/{folder}", syscalls.IN_CHANGED)
                self._folders[number] = folder + "/" if folder else ""
        except OSError:
            self._known = False  # this user's limit of watches is reached

    def names(self) -> frozenset[str] | None:
        """Return the changed names and end the watch; None if they are not known."""
        found: set[str] = set()
        try:
            while self._known and (data := os.read(self._fd, 1 << 16)):
                at = 0
                while at < len(data):
                    number, mask, _, length = _EVENT.unpack_from(data, at)
                    at += _EVENT.size
                    name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
                    at += length
                    if mask & syscalls.IN_Q_OVERFLOW:
                        self._known = False
                    elif number in self._folders:
                        found.add(self._folders[number] + name)
        except BlockingIOError:
            pass  # there are no more events
        finally:
            if self._fd >= 0:
                os.close(self._fd)
        return frozenset(found) if self._known else None


def _is_linked(path: str) -> bool:
    try:
        return os.lstat(path).st_nlink > 1
    except (FileNotFoundError, NotADirectoryError):
        return False

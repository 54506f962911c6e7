"""Reads files as a tar while others may change them: what `cp`, `export` and `commit` read of a container. Does I/O.

A file that vanishes meanwhile is left out. One that grows or shrinks has the size in the tar that it had when its
header was written: what is more is cut off, what is missing becomes zeros. Mirrors: tar(1); moby pkg/archive gives up.
What is read belongs to a process whose `/` is the container's (containers/files/inside.py), or to the caller's own
files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator

import msgspec

from firkin.layer.change import WHITEOUT_PREFIX, Change, Entry, Put, Remove
from firkin.layer.entry import TRAILER, encode_member, encode_opaque, encode_whiteout, padding
from firkin.layer.scan import OwnerOf, read_entry
from firkin.layer.view import sort_names
from firkin.linux.files import open_content
from firkin.linux.sparse import iter_data

_BLOCK = 256 << 10
_ZEROS = bytes(_BLOCK)


class TarPieces:
    """A tar in pieces of some 100 KiB: each call yields those that are full, `end` the last one.

    `owner_of` takes path, uid and gid to the owner in the tar, where files cannot have their own. `size_bytes` is what
    its files unpack to.
    """

    def __init__(self, owner_of: OwnerOf | None = None) -> None:
        self._owner_of = owner_of
        self._held = bytearray()
        self._links: dict[tuple[int, int], str] = {}
        self.size_bytes = 0

    def file(self, path: str, shown: str) -> Generator[bytes, None, bool]:
        """Add the file at `path` under the name `shown`; returns whether it is a directory, to go on with."""
        try:
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode):
                return False
            entry = read_entry(path, status)
        except FileNotFoundError:
            return False
        if self._owner_of is not None:
            uid, gid = self._owner_of(shown, entry.uid, entry.gid)
            entry = msgspec.structs.replace(entry, uid=uid, gid=gid)
        first = shown if entry.inode is None else self._links.setdefault(entry.inode, shown)
        yield from self._put(shown, entry, path, "" if first == shown else first)
        return entry.kind == "dir"

    def folder(self, folder: str, name: str, *, top: bool = True) -> Iterator[bytes]:
        """Add a directory under a name, and everything beneath it, sorted; "." is the name of its contents alone.

        Without `top` there is no member for the directory itself.
        """
        prefix = f"{name}/" if name else ""
        if top:
            yield from self.file(folder, "" if name == "." else name)
        stack: list[Iterator[str]] = [iter(_names(folder))]
        above = [""]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
                above.pop()
                continue
            path = above[-1] + found
            full = f"{folder}/{path}"
            if (yield from self.file(full, prefix + path)):
                stack.append(iter(_names(full)))
                above.append(path + "/")

    def change(self, change: Change) -> Iterator[bytes]:
        """Add a change as a layer has it. Raises ValueError for a name that means something else there."""
        if type(change) is Put:
            if change.path.rpartition("/")[2].startswith(WHITEOUT_PREFIX):
                raise ValueError(f"a layer cannot hold `{change.path}`: names that start with .wh. mean removals")
            content = change.content if isinstance(change.content, str) else ""
            yield from self._put(change.path, change.entry, content, change.link)
        else:
            self._held += encode_whiteout(change.path) if type(change) is Remove else encode_opaque(change.path)

    def end(self) -> bytes:
        """End the archive, and return the last piece."""
        self._held += TRAILER
        return bytes(self._held)

    def _put(self, shown: str, entry: Entry, path: str, link: str) -> Iterator[bytes]:
        if entry.kind == "file" and not link:
            yield from self._content(path, shown, entry)
        else:
            self._held += encode_member(shown, entry, link=link)
        if not link:
            self.size_bytes += entry.unpacked_bytes
        yield from self._full()

    def _content(self, path: str, shown: str, entry: Entry) -> Iterator[bytes]:
        try:
            fd = open_content(path)
        except ValueError:
            return  # it vanished, or became a link
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return
            self._held += encode_member(shown, entry)
            done = 0
            for start, end in iter_data(fd, entry.size):
                yield from self._zeros(start - done)
                os.lseek(fd, start, os.SEEK_SET)
                done = start
                while done < end and (piece := os.read(fd, min(end - done, _BLOCK))):
                    self._held += piece
                    done += len(piece)
                    yield from self._full()
                if done < end:
                    break
            yield from self._zeros(entry.size - done + padding(entry.size))
        finally:
            os.close(fd)

    def _zeros(self, count: int) -> Iterator[bytes]:
        while count:
            step = min(count, _BLOCK)
            self._held += _ZEROS[:step]
            count -= step
            yield from self._full()

    def _full(self) -> Iterator[bytes]:
        if len(self._held) >= _BLOCK // 2:
            piece = bytes(self._held)
            self._held.clear()
            yield piece


def _names(folder: str) -> list[str]:
    try:
        return sort_names(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []

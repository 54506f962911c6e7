"""Read access to file trees: a directory, a stack of diff trees, a stack of indexes. Does I/O.

Views remember which directories are real, so a tree must not change while a view of it is used: make a
new view after a change.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from typing import Protocol

import msgspec

from firkin.layer.attributes import OPAQUE_XATTR, WHITEOUT_XATTR, get_xattr
from firkin.layer.change import Content, Entry, View, follow_links
from firkin.layer.index import IndexRecord, LayerIndex
from firkin.layer.scan import OwnerOf, read_entry

_S_IFMT, _S_IFDIR, _S_IFCHR, _S_IFREG = 0o170000, 0o040000, 0o020000, 0o100000


def sort_names(names: list[str]) -> list[str]:
    """Sort names in place by their bytes, and return them."""
    if "".join(names).isascii():
        names.sort()
    else:
        names.sort(key=os.fsencode)
    return names


def resolve_path(view: View, path: str) -> str:
    """Return the path with every link followed within the root; missing parts stay as they are.

    A link chain that never ends gives "" (which is a directory, so nothing is read from it).
    """
    return follow_links(view.lstat, path) or ""


class DirectoryView:
    """A real directory as a View."""

    def __init__(self, root: str, *, owner_of: OwnerOf | None = None) -> None:
        self._root = root
        self._prefix = root.rstrip("/") + "/"
        self._owner_of = owner_of
        self._real = {"": True}

    def lstat(self, path: str) -> Entry | None:
        """Return the entry; None where there is nothing, or a link or file stands on the way."""
        if not self._is_folder(path.rpartition("/")[0]):
            return None
        full = self._prefix + path if path else self._root
        try:
            status = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if self._owner_of is None:
            return read_entry(full, status)
        entry = read_entry(full, status)
        uid, gid = self._owner_of(path, entry.uid, entry.gid)
        return msgspec.structs.replace(entry, uid=uid, gid=gid)

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory; none where there is no directory."""
        if not self._is_folder(path):
            return []
        return sort_names(os.listdir(self._prefix + path))

    def content(self, path: str) -> Content:
        """Return the absolute path of a file."""
        return self._prefix + path

    def _is_folder(self, path: str) -> bool:
        known = self._real.get(path)
        if known is None:
            known = True
            for part in _unknown_parts(path, self._real):
                known = known and self._real.get(part.rpartition("/")[0], True) and self._is_real(part)
                self._real[part] = known
        return known

    def _is_real(self, path: str) -> bool:
        try:
            return os.lstat(self._prefix + path).st_mode & _S_IFMT == _S_IFDIR
        except (FileNotFoundError, NotADirectoryError):
            return False


def _unknown_parts(path: str, known: Container[str]) -> list[str]:
    """Return a path and the directories above it that are not known, the highest first."""
    parts = []
    while path not in known:
        parts.append(path)
        if not path:
            break
        path = path.rpartition("/")[0]
    return parts[::-1]


class LayerReader(Protocol):
    """One layer of a stack: an index, or a diff tree."""

    def lookup(self, path: str) -> IndexRecord | None:
        """Return this layer's own record of a path."""

    def children(self, path: str) -> Iterator[tuple[str, bool]]:
        """Yield the names that it has or removes in a directory; True: removed."""


class DiffTree:
    """An overlay diff directory as one layer. An index, if given, has the right owners, modes and xattrs
    (for trees that were unpacked under a single id)."""

    def __init__(self, root: str, index: LayerIndex | None = None) -> None:
        self.root = root
        self._prefix = root + "/"
        self._index = index

    def lookup(self, path: str) -> IndexRecord | None:
        """Return this layer's own record of a path; the path's parents must be directories in it."""
        full = self._prefix + path if path else self.root
        try:
            status = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return self._device(path)
        kind = status.st_mode & _S_IFMT
        if kind == _S_IFCHR and status.st_rdev == 0:
            return IndexRecord(path, None)
        if kind == _S_IFREG and status.st_size == 0 and get_xattr(full, WHITEOUT_XATTR) is not None:
            return IndexRecord(path, None)
        entry = read_entry(full, status)
        if self._index is not None:
            entry = _with_attributes(entry, self._index.lookup(path))
        return IndexRecord(path, entry, "", kind == _S_IFDIR and _is_opaque(full))

    def _device(self, path: str) -> IndexRecord | None:
        """Return the index's record of a device that could not be made."""
        record = None if self._index is None else self._index.lookup(path)
        if record is None or record.entry is None or record.entry.kind not in ("char", "block"):
            return None
        return record

    def _devices(self, path: str, there: set[str]) -> Iterator[tuple[str, bool]]:
        if self._index is not None:
            for name, removed in self._index.children(path):
                if name not in there and not removed and self._device(f"{path}/{name}" if path else name):
                    yield name, False

    def children(self, path: str) -> Iterator[tuple[str, bool]]:
        """Yield the names in a directory; True: removed."""
        full = self._prefix + path if path else self.root
        try:
            with os.scandir(full) as found:
                items = list(found)
        except (FileNotFoundError, NotADirectoryError):
            return
        marked: bool | None = None
        for item in items:
            if item.is_file(follow_symlinks=False):
                if marked is None:
                    marked = get_xattr(full, OPAQUE_XATTR) == b"x"
                yield item.name, marked and get_xattr(item.path, WHITEOUT_XATTR) is not None
            else:
                yield item.name, _is_whiteout_device(item)
        if self._index is not None:
            yield from self._devices(path, {item.name for item in items})


def _with_attributes(entry: Entry, record: IndexRecord | None) -> Entry:
    """Return an entry with the owner, mode and xattrs from an index."""
    if record is None or record.entry is None or record.implied:
        return entry
    known = record.entry
    return msgspec.structs.replace(entry, uid=known.uid, gid=known.gid, mode=known.mode, xattrs=known.xattrs)


def _is_whiteout_device(item: os.DirEntry[str]) -> bool:
    if item.is_dir(follow_symlinks=False) or item.is_symlink():
        return False
    status = item.stat(follow_symlinks=False)
    return status.st_mode & _S_IFMT == _S_IFCHR and status.st_rdev == 0


def _is_opaque(full: str) -> bool:
    return get_xattr(full, OPAQUE_XATTR) == b"y"


class MergedView:
    """Layers on top of each other, the lowest first, as overlayfs would show them."""

    def __init__(self, layers: Sequence[LayerReader]) -> None:
        self._layers = tuple(reversed(layers))
        self._visible: dict[str, tuple[int, ...]] = {}

    def lstat(self, path: str) -> Entry | None:
        """Return the entry of the highest layer that has one."""
        found = self._find(path)
        return None if found is None else found[1]

    def find(self, path: str) -> tuple[int, Entry] | None:
        """Return the number of the layer that decides on a path (0: the lowest), and the entry."""
        found = self._find(path)
        return None if found is None else (len(self._layers) - 1 - found[0], found[1])

    def iterdir(self, path: str) -> list[str]:
        """Return the names that the layers together show in a directory."""
        decided: dict[str, bool] = {}
        for number in self._contributors(path):
            for name, removed in self._layers[number].children(path):
                decided.setdefault(name, removed)
        return sort_names([name for name, removed in decided.items() if not removed])

    def content(self, path: str) -> Content:
        """Return where a file's bytes are; raises FileNotFoundError if no layer has them unpacked."""
        raise FileNotFoundError(path)

    def implied(self, path: str) -> Entry | None:
        """Return the entry whose attributes a directory takes over if a layer above only implies it.

        None: there is none. A link here is hidden by that directory, which then takes over the attributes of the
        link's target within its layer. Mirrors: containerd archive, mkparent.
        """
        unknown = (-1, Entry("dir", 0o755))
        found = self._find(path, unknown)
        return None if found is None or found is unknown else found[1]

    def _find(self, path: str, implied: tuple[int, Entry] | None = None) -> tuple[int, Entry] | None:
        """Return the layer that decides on a path, and the entry; implied directories take lower attributes."""
        for number in self._holders(path):
            record = self._layers[number].lookup(path)
            if record is None:
                continue
            if record.entry is None:
                return implied
            if not record.implied:
                if implied is None:
                    return number, self._numbered(record.entry, number)
                taken = self._behind(number, path, record.entry)
                if taken is None:
                    continue
                return (number, self._numbered(taken, number)) if taken.kind == "dir" else implied
            implied = implied or (number, record.entry)
            if record.opaque:
                return implied
        return implied if path or implied else (0, Entry("dir", 0o755))

    def _holders(self, path: str) -> Sequence[int]:
        """Return the layers that may have a record of a path, the highest first."""
        return self._contributors(path.rpartition("/")[0]) if path else range(len(self._layers))

    def _behind(self, number: int, path: str, entry: Entry) -> Entry | None:
        """Return an entry, or for a link the entry of its target in its own layer."""
        if entry.kind != "symlink":
            return entry
        alone = MergedView((self._layers[number],))
        target = follow_links(alone.lstat, path)
        return None if target is None else alone.lstat(target)

    def _numbered(self, entry: Entry, number: int) -> Entry:
        """Keep apart the inode numbers of different layers."""
        if entry.inode is None:
            return entry
        return msgspec.structs.replace(entry, inode=(entry.inode[0] << 8 | number, entry.inode[1]))

    def _contributors(self, path: str) -> tuple[int, ...]:
        """Return the layers that show something in a directory, the highest first; none: it is no directory."""
        known = self._visible.get(path)
        if known is None:
            for part in _unknown_parts(path, self._visible):
                known = self._visible[part] = self._shown_by(part)
        return known or ()

    def _shown_by(self, path: str) -> tuple[int, ...]:
        """Do what `_contributors` does, once the layers of the directory above are known."""
        found: list[int] = []
        for number in self._visible[path.rpartition("/")[0]] if path else range(len(self._layers)):
            record = self._layers[number].lookup(path)
            if record is None:
                continue
            if record.entry is None or record.entry.kind != "dir":
                break
            found.append(number)
            if record.opaque:
                break
        return tuple(found)


class StackView(MergedView):
    """Diff trees, the lowest first, without mounting them; `indexes`, where given, have the owners."""

    def __init__(self, trees: Sequence[str], indexes: Sequence[LayerIndex | None] | None = None) -> None:
        self._roots = tuple(reversed(trees))
        super().__init__([DiffTree(tree, indexes[at] if indexes else None) for at, tree in enumerate(trees)])

    def content(self, path: str) -> Content:
        """Return the absolute path of a file in the highest layer that has it.

        Raises FileNotFoundError where none has it.
        """
        found = self._find(path)
        if found is None:
            raise FileNotFoundError(path)
        return f"{self._roots[found[0]]}/{path}"

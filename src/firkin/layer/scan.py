"""Reads changes from directories: an overlay's upper directory, or a tree and an earlier listing of it. Does I/O.

Order: parents first, names by their bytes, a directory's content right behind it. One lstat and one
listxattr a file; contents are not read here.
Spec: Linux Documentation/filesystems/overlayfs.rst (whiteouts and opaque directories, userxattr).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator

from firkin.errors import StepFailed
from firkin.layer.change import Change, Entry, Kind, Opaque, Put, Remove
from firkin.layer.compare import Difference, Stat, TreeIndex, compare, pack_far_stat, pack_stat

_ESCAPED = "user.overlay.overlay."

_KINDS: dict[int, Kind] = {
    0o100000: "file",
    0o040000: "dir",
    0o120000: "symlink",
    0o010000: "fifo",
    0o020000: "char",
    0o060000: "block",
}
_WITH_XATTRS = ("file", "dir")  # no user.* or security.capability can be on the other kinds
_REDIRECTS = frozenset(("redirect", "metacopy"))
_S_IFMT = 0o170000
_S_IFDIR = 0o040000
_S_IFCHR = 0o020000
_S_IFSOCK = 0o140000

OwnerOf = Callable[[str, int, int], tuple[int, int]]
"""From path, uid and gid on disk to the owner in the layer (for trees kept under one id)."""


def iter_upper_changes(
    upper: str,
    *,
    skip: frozenset[str] = frozenset(),
    include_root: bool = False,
    owner_of: OwnerOf | None = None,
    vanishing: bool = False,
) -> Iterator[Change]:
    """Yield the changes that an overlay's upper directory (or a stored tree) makes to the layers below it.

    `skip` names paths that are left out with all beneath them. `include_root` starts with a Put of ""
    (other builders leave the root's own attributes out). Sockets are left out, as by tar. `vanishing`: the directory is
    in use, and files that are removed meanwhile are left out. Raises OSError; StepFailed for paths that no layer can
    hold; ValueError for redirects and metadata-only copies, which firkin's mounts never make.
    """
    try:
        yield from _iter_upper(upper, skip, include_root, owner_of, vanishing)
    except OSError as error:
        raise _unreachable(error) or error from None


def _unreachable(error: OSError) -> StepFailed | None:
    """Return the error for a tree that is deeper than the longest path."""
    if error.errno != errno.ENAMETOOLONG:
        return None
    shown = os.fsdecode(error.filename)[-60:] if isinstance(error.filename, (str, bytes)) else ""
    return StepFailed(
        f"a path is longer than the 4096 bytes that Linux takes: `…{shown}`",
        code="layer-content",
        hints=("directories are nested too deeply; remove them in the step that makes them",),
    )


def _iter_upper(
    upper: str, skip: frozenset[str], include_root: bool, owner_of: OwnerOf | None, vanishing: bool
) -> Iterator[Change]:
    if include_root:
        yield from _folder(upper, os.lstat(upper), "", owner_of)
    links: dict[tuple[int, int], str] = {}
    stack: list[Iterator[os.DirEntry[str]]] = [_list(upper)]
    prefixes = [""]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            prefixes.pop()
            continue
        path = prefixes[-1] + item.name
        if path in skip:
            continue
        try:
            status = item.stat(follow_symlinks=False)
            kind = status.st_mode & _S_IFMT
            if kind == _S_IFDIR:
                yield from _folder(item.path, status, path, owner_of)
                stack.append(_list(item.path))
                prefixes.append(path + "/")
            elif kind != _S_IFSOCK:
                yield _file(item.path, status, path, links, owner_of)
        except FileNotFoundError:
            if not vanishing:
                raise


def _file(
    full: str,
    status: os.stat_result,
    path: str,
    links: dict[tuple[int, int], str],
    owner_of: OwnerOf | None,
) -> Change:
    marks: dict[str, bytes] = {}
    entry = _read_entry(full, status, path, marks, owner_of)
    if "whiteout" in marks:
        return Remove(path)
    first = path if entry.inode is None else links.setdefault(entry.inode, path)
    if first == path:
        return Put(path, entry, full if entry.kind == "file" else None)
    return Put(path, entry, None, first)


def _folder(full: str, status: os.stat_result, path: str, owner_of: OwnerOf | None) -> Iterator[Change]:
    marks: dict[str, bytes] = {}
    yield Put(path, _read_entry(full, status, path, marks, owner_of))
    if marks.get("opaque") == b"y":
        yield Opaque(path)


def _list(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        items = list(found)
    if len(items) > 1:
        names = [item.name for item in items]
        if "".join(names).isascii():
            items.sort(key=lambda item: item.name)
        else:
            items.sort(key=lambda item: os.fsencode(item.name))
    return iter(items)


def _read_entry(
    full: str, status: os.stat_result, path: str, marks: dict[str, bytes], owner_of: OwnerOf | None
) -> Entry:
    """Return the entry of a file; its attributes for overlayfs go into `marks`."""
    mode = status.st_mode
    kind = _KINDS[mode & _S_IFMT]
    uid, gid = status.st_uid, status.st_gid
    if owner_of is not None:
        uid, gid = owner_of(path, uid, gid)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    if kind in _WITH_XATTRS:
        names = os.listxattr(full, follow_symlinks=False)
        if names:
            xattrs = layer_xattrs(full, names, marks)
            if not _REDIRECTS.isdisjoint(marks):
                raise ValueError(f"`{full}` is an overlayfs redirect, which no layer can hold")
    rdev = status.st_rdev
    if kind == "char" and not rdev:
        marks["whiteout"] = b""
    major, minor = (os.major(rdev), os.minor(rdev)) if rdev else (0, 0)
    return Entry(
        kind,
        mode & 0o7777,
        uid,
        gid,
        status.st_size if kind == "file" else 0,
        status.st_mtime_ns,
        os.readlink(full) if kind == "symlink" else "",
        major,
        minor,
        xattrs,
        (status.st_dev, status.st_ino) if status.st_nlink > 1 and kind != "dir" else None,
    )


def layer_xattrs(full: str, names: list[str], marks: dict[str, bytes] | None = None) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes of a file that a layer carries, sorted by name.

    Overlayfs's own go into `marks` without their prefix; escaped ones get their name back.
    """
    kept: list[tuple[str, bytes]] = []
    for name in names:
        if name.startswith("user."):
            if name.startswith(_ESCAPED):
                kept.append(("user.overlay." + name[len(_ESCAPED) :], os.getxattr(full, name, follow_symlinks=False)))
            elif name.startswith("user.overlay."):
                if marks is not None:
                    marks[name[13:]] = os.getxattr(full, name, follow_symlinks=False)
            elif "=" not in name:  # a tar cannot hold it
                kept.append((name, os.getxattr(full, name, follow_symlinks=False)))
        elif name == "security.capability":
            kept.append((name, os.getxattr(full, name, follow_symlinks=False)))
    kept.sort()
    return tuple(kept)


def read_entry(full: str, status: os.stat_result | None = None) -> Entry:
    """Return the entry of one file, which is not followed; a socket counts as an empty regular file."""
    status = status or os.lstat(full)
    if status.st_mode & _S_IFMT == _S_IFSOCK:
        return Entry("file", status.st_mode & 0o7777, status.st_uid, status.st_gid, 0, status.st_mtime_ns)
    return _read_entry(full, status, "", {}, None)


# --- a whole tree -------------------------------------------------------------------------------------------------


def scan_tree(root: str, ignore: frozenset[str] = frozenset()) -> TreeIndex:
    """List a tree with one lstat a file; `ignore` names paths that are left out with all beneath them.

    Raises OSError; StepFailed for paths that no layer can hold.
    """
    try:
        return _scan(root, ignore)
    except OSError as error:
        raise _unreachable(error) or error from None


def _scan(root: str, ignore: frozenset[str]) -> TreeIndex:
    index = TreeIndex(_stat(os.lstat(root)))
    folders = [("", root)]
    while folders:
        folder, full = folders.pop()
        prefix = folder + "/" if folder else ""
        names: list[str] = []
        records: list[bytes] = []
        try:
            items = _list(full)
        except FileNotFoundError:
            continue
        for item in items:
            path = prefix + item.name
            if path in ignore:
                continue
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # a process of the host may remove its files meanwhile
            kind = status.st_mode & _S_IFMT
            if kind == _S_IFSOCK:
                continue
            names.append(item.name)
            try:
                record = pack_stat(
                    status.st_ino,
                    status.st_ctime_ns,
                    status.st_mtime_ns,
                    status.st_size,
                    status.st_dev,
                    status.st_rdev,
                    status.st_mode,
                    status.st_uid,
                    status.st_gid,
                    status.st_nlink,
                )
            except struct.error:
                record = pack_far_stat(_stat(status))
            records.append(record)
            if kind == _S_IFDIR:
                folders.append((path, item.path))
        index.add(folder, tuple(names), b"".join(records))
    return index


def iter_tree_changes(
    root: str,
    before: TreeIndex,
    after: TreeIndex,
    *,
    include_root: bool = False,
    wanted: Callable[[Difference], bool] | None = None,
) -> Iterator[Change]:
    """Yield the changes of the tree at `root` between two listings, `after` being the present one.

    `wanted` says which differences count; without it all do.
    """
    links: dict[tuple[int, int], str] = {}
    for difference in compare(before, after):
        path, stat = difference.path, difference.stat
        if wanted is not None and not wanted(difference):
            continue
        if stat is None:
            yield Remove(path)
        elif path or include_root:
            yield _put(root, difference, stat, links)


def _put(root: str, difference: Difference, stat: Stat, links: dict[tuple[int, int], str]) -> Put:
    path = difference.path
    full = f"{root}/{path}" if path else root
    kind = _KINDS[stat.mode & _S_IFMT]
    xattrs: tuple[tuple[str, bytes], ...] = ()
    if kind in _WITH_XATTRS:
        names = os.listxattr(full, follow_symlinks=False)
        if names:
            xattrs = layer_xattrs(full, names)
    inode = (stat.dev, stat.ino) if stat.nlink > 1 and kind != "dir" else None
    major, minor = (os.major(stat.rdev), os.minor(stat.rdev)) if stat.rdev else (0, 0)
    entry = Entry(
        kind,
        stat.mode & 0o7777,
        stat.uid,
        stat.gid,
        stat.size if kind == "file" else 0,
        stat.mtime_ns,
        os.readlink(full) if kind == "symlink" else "",
        major,
        minor,
        xattrs,
        inode,
    )
    if inode is not None:
        first = links.setdefault(inode, path)
        if first != path:
            return Put(path, entry, None, first)
    return Put(path, entry, full if kind == "file" else None)


def _stat(status: os.stat_result) -> Stat:
    return Stat(
        status.st_ino,
        status.st_ctime_ns,
        status.st_mtime_ns,
        status.st_size,
        status.st_dev,
        status.st_rdev,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_nlink,
    )

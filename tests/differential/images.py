"""What two builders made, in one form: the tree that the layers add up to, and the configuration. Does I/O.

Both write archives of `docker save`: layers with whiteouts, read with Python's own tools.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A path of an image. `same` is the first path (in order) that is a hard link of this one."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    content: str = ""
    link: str = ""
    same: str = ""
    xattrs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Made:
    """The outcome of one build: an image, or the words of an error."""

    error: str = ""
    tree: dict[str, Entry] | None = None
    config: dict[str, Any] | None = None


_KINDS = {
    tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}  # fmt: skip


def read_archive(path: Path) -> Made:
    """Read the one image of a `docker save` archive."""
    with tarfile.open(path) as archive:
        member = archive.extractfile("manifest.json")
        assert member is not None
        (manifest,) = json.load(member)
        file = archive.extractfile(manifest["Config"])
        assert file is not None
        config = json.load(file)
        tree: dict[str, Entry] = {}
        for name in manifest["Layers"]:
            layer = archive.extractfile(_real(archive, name))
            assert layer is not None
            with tarfile.open(fileobj=layer) as members:
                _apply(tree, members)
    return Made(tree=tree, config=config)


def _real(archive: tarfile.TarFile, name: str) -> str:
    """Return the member that a layer is: `docker save` links equal layers to each other."""
    info = archive.getmember(name)
    while info.issym():
        name = str((Path("/") / name).parent / info.linkname)
        parts: list[str] = []
        for part in name.split("/"):
            if part == "..":
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        info = archive.getmember("/".join(parts))
    return info.name


def _apply(tree: dict[str, Entry], members: tarfile.TarFile) -> None:
    """Put a layer on what is below it."""
    fresh: dict[str, Entry] = {}
    for info in members:
        path = info.name.strip("/").removeprefix("./")
        if path in ("", "."):
            continue
        above, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            _remove(tree, above, itself=False)
        elif name.startswith(".wh."):
            _remove(tree, f"{above}/{name[4:]}".lstrip("/"))
        else:
            fresh[path] = _entry(info, members, fresh)
    for path, entry in fresh.items():
        if path in tree and (tree[path].kind != "dir" or entry.kind != "dir"):
            _remove(tree, path)
        tree[path] = entry


def _entry(info: tarfile.TarInfo, members: tarfile.TarFile, fresh: dict[str, Entry]) -> Entry:
    if info.islnk():
        first = info.linkname.strip("/").removeprefix("./")
        return replace(fresh[first], same=fresh[first].same or first)
    content = ""
    if info.isreg():
        file = members.extractfile(info)
        assert file is not None
        content = hashlib.sha256(file.read()).hexdigest()[:16]
    xattrs = tuple(
        sorted((key[13:], value) for key, value in info.pax_headers.items() if key.startswith("SCHILY.xattr."))
    )
    kind = _KINDS.get(info.type, "file")
    mode = 0o777 if kind == "link" else info.mode & 0o7777
    return Entry(kind, mode, (info.uid, info.gid), int(info.mtime), content, info.linkname, "", xattrs)


def _remove(tree: dict[str, Entry], path: str, *, itself: bool = True) -> None:
    prefix = path + "/" if path else ""
    for found in [name for name in tree if name.startswith(prefix) or (itself and name == path)]:
        del tree[found]

"""Takes files out of an image: to a directory of this machine, or as a tar. Does I/O.

    with DirectoryTarget("/srv", chown=True, force=False) as target:
        extract(files, files.resolve("/etc"), "etc", target, scratch_path, cancel)
        target.finish()

Each layer is read once, whatever the number of its files. Directories come first and hard links last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from firkin.images.explore.content import Buffer, read_files
from firkin.images.explore.files import ImageFile, ImageFiles
from firkin.images.explore.layers import ImageLayer
from firkin.layer.change import Entry
from firkin.tasks.cancel import Cancel


class Target(Protocol):
    """Where files go. Names are relative and made of real names only; the directories above one come before it."""

    def folder(self, name: str, entry: Entry, /) -> None:
        """Make a directory."""

    def file(self, name: str, entry: Entry, pieces: Iterator[Buffer], /) -> None:
        """Make a regular file of `entry.size` bytes."""

    def link(self, name: str, first: str, entry: Entry, /) -> None:
        """Make a hard link to a file that was made before."""

    def special(self, name: str, entry: Entry, /) -> None:
        """Make a symbolic link, a named pipe or a device."""


def layers_of(files: ImageFiles, file: ImageFile) -> Iterator[ImageLayer]:
    """Yield the layers that have contents of a file, or of anything beneath a directory, again and again."""
    for item in _all(files, file):
        if item.entry.kind == "file" and item.entry.size:
            yield files.layers[item.layer]


def extract(
    files: ImageFiles, file: ImageFile, name: str, target: Target, scratch: Callable[[str], str], cancel: Cancel
) -> None:
    """Hand a file, or a directory with everything beneath it, to `target` under a name ("": only what is beneath).

    Raises RegistryError or StoreError for a layer that cannot be read, Cancelled, and what the target raises.
    """
    names = _Names(file, name)
    wanted: dict[int, list[str]] = {}
    first: dict[tuple[int, str], str] = {}
    links: list[tuple[ImageFile, str]] = []
    for item in _all(files, file):
        cancel.check()
        kind = item.entry.kind
        if kind == "dir":
            if named := names.of(item.path):
                target.folder(named, item.entry)
        elif kind != "file":
            target.special(names.of(item.path), item.entry)
        else:
            original = _original(files, item, first)
            if original:
                links.append((item, original))
            else:
                wanted.setdefault(item.layer, []).append(item.path)
    for number, paths in wanted.items():
        _read(files.layers[number], paths, names, target, scratch)
    for item, original in links:
        target.link(names.of(item.path), names.of(original), item.entry)


def _all(files: ImageFiles, file: ImageFile) -> Iterator[ImageFile]:
    yield file
    if file.entry.kind == "dir":
        yield from files.walk(file.path)


def _original(files: ImageFiles, item: ImageFile, first: dict[tuple[int, str], str]) -> str:
    """Return the path of this extraction that a file is a hard link to, "" for the first of its names."""
    layer = files.layers[item.layer]
    if item.entry.inode is None or not layer.is_plain(item.path):
        return ""
    known = first.setdefault((item.layer, layer.link_target(item.path)), item.path)
    return "" if known is item.path else known


def _read(
    layer: ImageLayer, paths: Iterable[str], names: _Names, target: Target, scratch: Callable[[str], str]
) -> None:
    def take(path: str, pieces: Iterator[Buffer]) -> None:
        record = layer.lookup(path)
        assert record is not None and record.entry is not None
        target.file(names.of(path), record.entry, pieces)

    read_files(layer, paths, scratch, take)


class _Names:
    """Names at the target by paths in the image."""

    def __init__(self, file: ImageFile, name: str) -> None:
        self._cut = len(file.path)
        self._name = name

    def of(self, path: str) -> str:
        """Return the name of a path; "" for the directory itself whose contents are wanted."""
        return f"{self._name}/{path[self._cut :].lstrip('/')}".strip("/") if path[self._cut :] else self._name

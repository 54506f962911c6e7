"""The layers of an image as one tree, fetched as they are needed. Does I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from firkin.errors import UsageError
from firkin.images.explore.layers import ImageLayer
from firkin.layer.change import Entry, follow_links
from firkin.layer.view import MergedView
from firkin.oci.image import Image
from firkin.text import clean, valid_text


class ImageFile(msgspec.Struct, frozen=True):
    """A file of an image. `path` is relative to its root ("" is the root); `layer` is the number of the layer that it
    comes from, 0 for the lowest, -1 for a root that no layer has. A hard link has the size of its file.
    """

    path: str
    entry: Entry
    layer: int


_First = tuple[int, Entry, bool] | None
_UNKNOWN: _First = (-1, Entry("dir"), True)
_MOST_DECIDED = 10_000


class ImageFiles:
    """An image's files. Look-ups begin at the top, and fetch no layer below the one that decides on a path."""

    def __init__(self, name: str, image: Image, layers: Sequence[ImageLayer]) -> None:
        self.name = name
        self.image = image
        self.layers = tuple(layers)
        self._merged = MergedView(self.layers)
        self._top = len(self.layers) - 1
        self._decided: dict[str, _First] = {}

    def resolve(self, path: str, *, follow: bool = True) -> ImageFile:
        """Return the file that a path means, with links followed inside the image (the last one only with `follow`).

        Raises UsageError: `no-file` if there is none.
        """
        found = follow_links(self._kind, path, last=follow)
        file = None if found is None else self.find(found)
        if file is None:
            why = "its links lead in a circle" if found is None else "there is no such file"
            at = f" (it leads to `/{valid_text(found)}`)" if found and found != clean(path) else ""
            raise UsageError(
                f"`{valid_text(path)}` is not in {self.name}: {why}{at}", code="no-file",
                hints=("paths count from the root of the image, and are spelled exactly",),
            )  # fmt: skip
        return file

    def find(self, path: str) -> ImageFile | None:
        """Return the file at a path without links; None where there is nothing."""
        first = self._first(path)
        if first is not None and not first[2]:
            return ImageFile(path, first[1], first[0])
        found = None if first is None and path else self._merged.find(path)
        return None if found is None else ImageFile(path, found[1], found[0])

    def list(self, path: str) -> Iterator[ImageFile]:
        """Yield what is in a directory, sorted by the bytes of the names."""
        prefix = path + "/" if path else ""
        for name in self._merged.iterdir(path):
            found = self._merged.find(prefix + name)
            if found is not None:
                yield ImageFile(prefix + name, found[1], found[0])

    def walk(self, path: str) -> Iterator[ImageFile]:
        """Yield everything beneath a directory, however deep: each directory before what is in it."""
        stack = [self.list(path)]
        while stack:
            file = next(stack[-1], None)
            if file is None:
                stack.pop()
                continue
            yield file
            if file.entry.kind == "dir":
                stack.append(self.list(file.path))

    def source(self, file: ImageFile) -> tuple[ImageLayer, str]:
        """Return the layer with the bytes of a regular file, and the path that they have there."""
        layer = self.layers[file.layer]
        return layer, layer.link_target(file.path)

    def _kind(self, path: str) -> Entry | None:
        first = self._first(path)
        return None if first is None else first[1]

    def _first(self, path: str) -> _First:
        """Return the highest layer that has a path, its entry, and whether only its kind is known from there.

        `path` leads through no link. As MergedView, but from the top, and no further than needed.
        """
        if path in self._decided:
            return self._decided[path]
        # Links of an image can lead through thousands of directories, again and again.
        above = self._decided.get(path.rpartition("/")[0], _UNKNOWN) if path else _UNKNOWN
        nothing = above is None or (above is not _UNKNOWN and above[1].kind != "dir")
        if len(self._decided) > _MOST_DECIDED:
            self._decided.clear()
        found = self._decided[path] = None if nothing else self._look(path)
        return found

    def _look(self, path: str) -> _First:
        parts = path.split("/") if path else []
        above = ["/".join(parts[:count]) for count in range(len(parts))]
        for number in range(self._top, -1, -1):
            layer = self.layers[number]
            last = False
            for folder in above:
                record = layer.lookup(folder)
                if record is None:
                    break
                if record.entry is None or record.entry.kind != "dir":
                    return None
                last = last or record.opaque
            else:
                record = layer.lookup(path)
                if record is not None:
                    return None if record.entry is None else (number, record.entry, record.implied)
            if last:
                return None
        return None

"""Contents of files, out of the tar of a layer, in one pass. Does I/O.

The tar of a layer may have several members of one path, of which the last counts, and a hard link keeps the content
that its target had at that moment. A file of which the index says that it has a single member is passed on as it
comes, and the rest of the layer is not read; others are held back in scratch space until the layer ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO

from firkin.images.explore.layers import ImageLayer
from firkin.layer.index import iter_placed
from firkin.layer.tar import Member, TarReader
from firkin.layer.unpack import write_content

Buffer = bytes | memoryview
Take = Callable[[str, Iterator[Buffer]], None]
"""Takes the content of a file: its path in the layer, and its bytes, to be read before the call returns."""

_ZEROS = bytes(1 << 16)
_PIECE = 1 << 18


def read_files(layer: ImageLayer, paths: Iterable[str], scratch: Callable[[str], str], take: Take) -> None:
    """Hand the contents of regular files of one layer to `take`, in the order of the tar.

    `scratch` gives paths for temporary files. Raises RegistryError or StoreError for a layer that is not what the
    image says, before anything is handed over, and what `take` raises.
    """
    layer.ensure_blob()
    plain: dict[str, list[str]] = {}
    held: list[str] = []
    odd: set[str] = set()
    for path in paths:
        if layer.is_plain(path):
            plain.setdefault(layer.link_target(path), []).append(path)
        else:
            held.append(path)
            odd.update(layer.link_chain(path))
    with _HeldBack(scratch) as back:
        try:
            _read(layer, plain, odd, back, take)
        except ValueError as error:
            raise layer.damaged(error) from error
        for path in held:
            with back.open(path) as file:
                take(path, _pieces(file))


def _read(layer: ImageLayer, plain: dict[str, list[str]], odd: set[str], back: _HeldBack, take: Take) -> None:
    reader = layer.open_tar()
    left = len(plain)
    for path, member, link in iter_placed(reader):
        if path in odd:
            back.note(path, member, link, reader)
        elif path in plain and member.entry.kind == "file" and not link:
            first, *others = plain[path]
            if others:
                back.note(path, member, "", reader)
                for name in plain[path]:
                    with back.open(path) as file:
                        take(name, _pieces(file))
            else:
                take(first, iter_content(member, reader))
            left -= 1
        if not left and not odd:
            return


class _HeldBack:
    """Contents in scratch space, by path; a context manager that removes them."""

    def __init__(self, scratch: Callable[[str], str]) -> None:
        self._scratch = scratch
        self._made: list[str] = []
        self._at: dict[str, str] = {}

    def __enter__(self) -> _HeldBack:
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._made:
            with suppress(FileNotFoundError):
                os.unlink(place)

    def note(self, path: str, member: Member, link: str, reader: TarReader) -> None:
        """Take the member as what a path has from now on. Raises ValueError."""
        if link:
            if link in self._at:
                self._at[path] = self._at[link]
            return
        self._at.pop(path, None)
        if member.entry.kind != "file":
            return
        place = self._scratch("content")
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._made.append(place)
        try:
            write_content(fd, member, reader)
        finally:
            os.close(fd)
        self._at[path] = place

    def open(self, path: str) -> BinaryIO:
        """Open the content that a path has; nothing at all for a link to what is not there."""
        return open(self._at.get(path, os.devnull), "rb")


def iter_content(member: Member, reader: TarReader) -> Iterator[Buffer]:
    """Yield the bytes of a regular file that the reader stands at, holes as zeros. Raises ValueError."""
    if member.sparse is None:
        yield from reader.content()
        return
    at = 0
    piece: memoryview = memoryview(b"")
    for offset, length in member.sparse:
        yield from _zeros(offset - at)
        at = offset + length
        while length:
            if not piece:
                piece = reader.read()
            yield piece[:length]
            taken = min(length, len(piece))
            piece = piece[taken:]
            length -= taken
    yield from _zeros(member.entry.size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield _ZEROS[:count] if count < len(_ZEROS) else _ZEROS
        count -= len(_ZEROS)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece

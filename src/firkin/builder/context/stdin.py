"""A context from standard input: a tar, compressed or not, or a bare Dockerfile. Does I/O. Contexts import it.

Mirrors: docker/buildx build/opt.go (`docker build -`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firkin.builder.context.archive import Scratch, is_archive, read_members
from firkin.builder.context.tar import tar_view
from firkin.builder.context.views import MemoryView
from firkin.errors import ContextError
from firkin.layer.change import View
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits

_MAX_TEXT = 16 << 20
_START = 512


def open_stream(
    chunks: Iterable[bytes],
    scratch: Scratch,
    what: str = "standard input",
    limits: UnpackLimits = UNPACK_LIMITS,
) -> View | bytes:
    """Return the tree of a tar stream, or the text of a Dockerfile. Raises ContextError."""
    source = iter(chunks)
    start = b""
    for chunk in source:
        start += chunk
        if len(start) >= _START:
            break
    if is_archive(start):
        return tar_view(read_members(_chain(start, source), scratch, limits), what)
    return read_all(_chain(start, source), what)


def read_all(chunks: Iterable[bytes], what: str) -> bytes:
    """Return a Dockerfile's text from a stream; raises ContextError when it is huge or empty."""
    pieces = []
    size = 0
    for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size > _MAX_TEXT:
            raise ContextError(
                f"{what} is neither an archive nor a Dockerfile: it is too large", code="context-archive"
            )
    if not size:
        raise ContextError(f"{what} is empty", code="context-empty")
    return b"".join(pieces)


def nothing() -> View:
    """Return the context of a build from a bare Dockerfile."""
    return MemoryView({}, {})


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest

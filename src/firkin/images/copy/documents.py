"""Reads manifests and other small files of archives, layouts and directories, verified. Does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from firkin.errors import ContextError, UsageError
from firkin.images.copy.ends import Document
from firkin.oci import codec
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import finish, new_hasher
from firkin.oci.manifest import parse_manifest

OpenFile = Callable[[str], BinaryIO | None]


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn a ValueError or OSError of the block into a ContextError about `what`."""
    try:
        yield
    except (ValueError, OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ContextError(f"cannot read {what}: {why}", code="copy-source") from error


def read_small(open_file: OpenFile, name: str) -> bytes | None:
    """Return a file's bytes, None if it is absent. Raises ValueError above 4 MiB."""
    file = open_file(name)
    if file is None:
        return None
    with file:
        data = file.read(codec.MAX_DOCUMENT_BYTES + 1)
    if len(data) > codec.MAX_DOCUMENT_BYTES:
        raise ValueError(f"`{name}` has more than {codec.MAX_DOCUMENT_BYTES} bytes")
    return data


def read_document(open_file: OpenFile, name: str, item: Descriptor) -> Document | None:
    """Return a manifest or index, None if it is absent. Raises ValueError when it does not match its descriptor."""
    data = read_small(open_file, name)
    if data is None:
        return None
    hasher = new_hasher(item.digest.partition(":")[0])
    hasher.update(data)
    if finish(hasher) != item.digest:
        raise ValueError(f"`{name}` has digest `{finish(hasher)}`, not `{item.digest}`")
    return parse_manifest(data, item.media_type, name)


def check_choice(what: str, count: int, number: int | None) -> int:
    """Return the position of the one image, or of the one that the user chose; raises UsageError."""
    if number is None:
        if count == 1:
            return 0
        raise UsageError(f"{what} holds {count} images", hints=("choose one by its name, or by `:@0`, `:@1`, ...",))
    if number >= count:
        raise UsageError(f"{what} holds {count} images, so there is no `@{number}`")
    return number

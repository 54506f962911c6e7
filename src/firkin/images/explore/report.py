"""Files of images as documents for programs. Pure."""

from __future__ import annotations

from base64 import b64encode

from firkin.images.explore.files import ImageFile, ImageFiles
from firkin.layer.change import Entry
from firkin.text import is_valid, valid_text

_BILLION = 1_000_000_000
_EARLIEST_S, _LATEST_S = -62135596800, 253402300799  # the years 1 and 9999


def time_text(time_ns: int) -> str:
    """Return a time as RFC 3339 in UTC, whole seconds: `2024-01-02T15:04:05Z`; years stop at 1 and 9999."""
    import time

    seconds = max(_EARLIEST_S, min(time_ns // _BILLION, _LATEST_S))
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def file_document(files: ImageFiles, file: ImageFile) -> dict[str, object]:
    """Return a file as the object that `ls` prints as JSON.

    A path or target that is not UTF-8 has U+FFFD in it, and its bytes beside it in base64 (`path_bytes`).
    """
    document: dict[str, object] = {**path_document("path", "/" + file.path), **entry_document(file.entry)}
    if file.layer >= 0:
        document["layer"] = file.layer
        document["layer_digest"] = files.layers[file.layer].layer.descriptor.digest
    return document


def entry_document(entry: Entry) -> dict[str, object]:
    """Return the attributes of a file: type, mode (octal), uid, gid, size, mtime and what its type has besides."""
    document: dict[str, object] = {
        "type": entry.kind,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": time_text(entry.mtime_ns),
    }
    if entry.kind == "symlink":
        document |= path_document("target", entry.target)
    if entry.kind in ("char", "block"):
        document |= {"major": entry.major, "minor": entry.minor}
    if entry.xattrs:
        document["xattrs"] = {valid_text(name): b64encode(value).decode() for name, value in entry.xattrs}
    return document


def path_document(name: str, value: str) -> dict[str, object]:
    """Return a path under a name; if it is not UTF-8, its bytes in base64 as well, under `NAME_bytes`."""
    if is_valid(value):
        return {name: value}
    raw = value.encode("utf-8", "surrogateescape")
    return {name: valid_text(value), f"{name}_bytes": b64encode(raw).decode()}

"""JSON of images to values and back. Pure. The only place where foreign JSON is taken apart.

Unknown fields are ignored on reading (the specs demand it); the raw bytes stay the identity. An
error names the key path. Writing is deterministic: fields in the order of the specs, no blanks.

Other builders read these documents with Go's encoding/json, and there are documents that only it understands: those
`decode_like_go` reads as Go does (`gojson`). What looks as it should never gets that far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from firkin.decode import convert, decode_json

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024  # distribution-spec: registries may refuse manifests above 4 MiB
_encoder = msgspec.json.Encoder()


def decode(raw: bytes, kind: type[T], what: str) -> T:
    """Read JSON of the given kind; raises ValueError `<what>: <reason> - at $.path`."""
    _check_size(raw, what)
    try:
        return decode_json(raw, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{what}: {error}") from None
    except RecursionError:
        raise ValueError(f"{what}: the JSON is nested too deeply") from None


def decode_like_go(raw: bytes, kind: type[T], what: str, shape: Callable[[], Any]) -> T:
    """Read JSON of the given kind by the rules of Go's encoding/json; raises ValueError.

    The Structs of `kind` must forbid unknown fields and omit defaults: so a document that was read, and has no fewer
    keys with values when it is written again, is one about which all readers agree. For the others `shape` is asked.
    """
    _check_size(raw, what)
    try:
        value = decode_json(raw, kind)
        if _values(_encoder.encode(value)) == _values(raw):
            return value
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    from firkin.oci.gojson import read

    try:
        return convert(read(raw, _keys(raw), shape()), kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"{what}: {error}") from None
    except RecursionError:
        raise ValueError(f"{what}: the JSON is nested too deeply") from None


def encode(value: Any) -> bytes:
    """Return compact JSON; dictionaries keep their order."""
    return _encoder.encode(value)


def readable(raw: bytes) -> bytes:
    """Return a document that others can read: itself, or without what is no Unicode. Raises ValueError."""
    try:
        msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        from firkin.oci.gojson import read_any

        return encode(read_any(raw))
    return raw


def _check_size(raw: bytes, what: str) -> None:
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{what}: over {MAX_DOCUMENT_BYTES} bytes")


def _keys(raw: bytes) -> int:
    """Return how many keys were written, all repetitions counted; wrong only where a blank precedes a colon."""
    return raw.count(b'":') - raw.count(b'\\":')


def _values(raw: bytes) -> int:
    """Return how many of the keys have a value."""
    nulls = raw.count(b'":null') - raw.count(b'\\":null') + raw.count(b'": null') - raw.count(b'\\": null')
    return _keys(raw) - nulls

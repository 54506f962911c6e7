"""JSON of images to values and back. Pure. The only module that parses JSON of images.

Unknown fields are ignored on reading (the specs demand it); the raw bytes stay the identity. An
error names the key path. Writing is deterministic: fields in the order of the specs, no blanks.

Other builders read these documents with Go's encoding/json, which also accepts documents that strict parsers reject.
`decode_like_go` reads such documents as Go does, with `gojson`. Well-formed documents never need `gojson`.
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

    The Structs of `kind` must forbid unknown fields and omit defaults. If a document is read strictly and is written
    again with as many keys that have values, all readers agree about it. Any other document is read with `shape()`.
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
    """Return a document as valid Unicode JSON, unchanged if it is that already. Raises ValueError."""
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
    """Return how many keys a document has, repeated ones included; wrong only if a blank precedes a colon."""
    return raw.count(b'":') - raw.count(b'\\":')


def _values(raw: bytes) -> int:
    """Return how many of the keys have a value other than null."""
    nulls = raw.count(b'":null') - raw.count(b'\\":null') + raw.count(b'": null') - raw.count(b'\\": null')
    return _keys(raw) - nulls

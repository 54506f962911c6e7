"""JSON of images to values and back. Pure; the only place where foreign JSON is taken apart.

Unknown fields are ignored on reading (the specs demand it); the raw bytes stay the identity. An
error names the key path. Writing is deterministic: fields in the order of the specs, no blanks.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024  # distribution-spec: registries may refuse manifests above 4 MiB
_encoder = msgspec.json.Encoder()


def decode(raw: bytes, kind: type[T], what: str) -> T:
    """Read JSON of the given shape; raises ValueError `<what>: <reason> - at $.path`."""
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{what}: over {MAX_DOCUMENT_BYTES} bytes")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{what}: {error}") from None
    except RecursionError:
        raise ValueError(f"{what}: JSON is nested too deeply") from None


def encode(value: Any) -> bytes:
    """Return compact JSON; dictionaries keep their order."""
    return _encoder.encode(value)

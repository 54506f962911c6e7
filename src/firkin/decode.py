"""Decoders of Structs, made by one thread at a time. Pure. Every module may import it; all decode with it.

msgspec collects the fields of a Struct when it first decodes one, and stores an unfinished result at the class
meanwhile. Another thread that decodes the same Struct at that moment ends the process with a segmentation fault
(msgspec 0.22, `StructInfo_Convert`). A finished decoder can be used by all threads.
"""

from __future__ import annotations

from _thread import allocate_lock  # `threading` costs a millisecond at every start
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
D = TypeVar("D")

_lock = allocate_lock()
_json: dict[Any, msgspec.json.Decoder[Any]] = {}
_msgpack: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def decode_json(data: bytes | str, kind: type[T]) -> T:
    """Return the value of a JSON document; raises as `msgspec.json.decode` does."""
    decoder: msgspec.json.Decoder[T] = json_decoder(kind)
    return decoder.decode(data)


def decode_msgpack(data: bytes, kind: type[T]) -> T:
    """Return the value of a MessagePack document; raises as `msgspec.msgpack.decode` does."""
    decoder: msgspec.msgpack.Decoder[T] = msgpack_decoder(kind)
    return decoder.decode(data)


def convert(value: object, kind: type[T], **options: Any) -> T:
    """Convert plain values to a type; takes the options and raises the errors of `msgspec.convert`."""
    json_decoder(kind)
    converted: T = msgspec.convert(value, kind, **options)
    return converted


def json_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the JSON decoder of a type, which may be a union. The first call for a type makes it."""
    return _made(_json, msgspec.json.Decoder, kind)


def msgpack_decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return the MessagePack decoder of a type, which may be a union. The first call for a type makes it."""
    return _made(_msgpack, msgspec.msgpack.Decoder, kind)


def _made(known: dict[Any, D], make: Callable[[Any], D], kind: Any) -> D:
    found = known.get(kind)
    if found is None:
        with _lock:
            found = known.setdefault(kind, make(kind))
    return found

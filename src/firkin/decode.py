"""Decoders of Structs, made by one thread at a time. Pure. Every module may import it, and none decodes otherwise.

msgspec finds out what a Struct consists of when it first decodes one, and notes it at the class while it is still
finding out: another thread that decodes the same Struct at that moment ends the process with a segmentation fault
(msgspec 0.22, `StructInfo_Convert`). What was found out once can be used by all.
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
    """Return what plain values mean; takes and raises what `msgspec.convert` does."""
    json_decoder(kind)
    converted: T = msgspec.convert(value, kind, **options)
    return converted


def json_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a type, which may be a union, from JSON. It is made with the first call for that type."""
    return _made(_json, msgspec.json.Decoder, kind)


def msgpack_decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of a type, which may be a union, from MessagePack."""
    return _made(_msgpack, msgspec.msgpack.Decoder, kind)


def _made(known: dict[Any, D], make: Callable[[Any], D], kind: Any) -> D:
    found = known.get(kind)
    if found is None:
        with _lock:
            found = known.setdefault(kind, make(kind))
    return found

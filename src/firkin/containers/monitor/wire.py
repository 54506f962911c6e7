"""Frames and JSON, as monitor and clients exchange them. Pure.

A part of the stand-alone program `monitor`; all parts share its global names. The interpreter's C scanner and encoder
are used without the module `json`, which takes 7 ms and a megabyte.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STDIN, STDOUT, STDERR, FAULT, REQUEST, ANSWER, NOTICE, STDIN_END, LAUNCH = 0, 1, 2, 3, 16, 17, 18, 19, 20
MOST_BYTES = 16 << 20  # of one frame: a launch document is the longest


class Scanning:
    """What the C scanner wants to know of a decoder."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}


def refuse_value(value: object) -> Any:
    """Raise TypeError for what JSON does not have."""
    raise TypeError(type(value).__name__)


scan_json: Any = getattr(_json, "make_scanner")(Scanning())  # noqa: B009  no stub knows it
encode_json: Any = getattr(_json, "make_encoder")(  # noqa: B009
    None,
    refuse_value,
    _json.encode_basestring_ascii,
    None,
    ":",
    ",",
    False,
    False,
    False,
)


def to_json(value: object) -> bytes:
    """Return a dict or list as JSON, in ASCII."""
    return "".join(encode_json(value, 0)).encode("ascii")


def from_json(data: bytes) -> dict[str, Any]:
    """Return an object from JSON. Raises ValueError for anything else."""
    try:
        value, _ = scan_json(data.decode("utf-8"), 0)
    except (StopIteration, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def frame(kind: int, payload: bytes) -> bytes:
    """Return one frame."""
    return bytes((kind, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frames (kind, payload) that are complete now. Raises ValueError for a frame that is too long."""
        data = self.rest + data if self.rest else data
        found = []
        position = 0
        while len(data) - position >= 8:
            size = int.from_bytes(data[position + 4 : position + 8], "big")
            if size > MOST_BYTES:
                raise ValueError("the frame is too long")
            end = position + 8 + size
            if len(data) < end:
                break
            found.append((data[position], data[position + 8 : end]))
            position = end
        self.rest = data[position:]
        return found

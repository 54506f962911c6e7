"""Reads JSON as Go's encoding/json reads it into structs. Pure. `codec` imports it when a document may need that.

Keys match in any case. A null leaves the zero value. The last of repeated keys counts, but repeated objects are
merged. Invalid Unicode becomes U+FFFD. Spec: https://pkg.go.dev/encoding/json#Unmarshal.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class Shape:
    """The keys of an object: the fields of a Struct, and the shapes of some of their values.

    The shape of a value is another Shape, a list of them (`[shape]`), TEXTS, a MAP, TEXT_MAP, or `{"*": shape}`.
    """

    def __init__(self, kind: type[msgspec.Struct], **below: Any) -> None:
        self.kind = kind
        self.below: dict[str, Any] = {name: below.get(name) for name in kind.__struct_encode_fields__}
        self.folded = {name.lower(): name for name in self.below}


TEXTS: Final = "texts"  # a list of strings
MAP: Final[dict[str, Any]] = {"*": None}  # an object with any keys
TEXT_MAP: Final = {"*": "text"}


class _Pairs(list[tuple[str, Any]]):
    """An object's keys and values as they were written."""


def read(raw: bytes, keys: int, shape: Any) -> Any:
    """Return the parts of a document that the shape has, with its spelling; `keys` is how many keys were written.

    Raises ValueError, msgspec.DecodeError, RecursionError.
    """
    try:
        tree = msgspec.json.decode(raw)
        if _count(tree) == keys:
            return _fit(tree, shape, None)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        failure: Exception = error
    else:
        failure = msgspec.DecodeError("JSON is malformed")
    try:
        tree = _pairs(raw)
    except ValueError:
        raise failure from None
    return _fit(tree, shape, None)


def read_any(raw: bytes) -> Any:
    """Return a whole document. Raises ValueError, RecursionError."""
    return _fit(_pairs(raw), None, None)


def _pairs(raw: bytes) -> Any:
    import json

    text = raw.decode("utf-8", "replace")
    return json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(f"`{name}` is no JSON")


def _count(tree: Any) -> int:
    """Return how many keys a tree has; repeated ones count once."""
    count, waiting = 0, [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            count += len(item)
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return count


def _fit(value: Any, shape: Any, former: Any) -> Any:
    """Return a value in the given shape; `former` is the value of an earlier key of the same name."""
    if isinstance(value, (dict, _Pairs)):
        pairs = value.items() if isinstance(value, dict) else value
        return (_struct if isinstance(shape, Shape) else _map)(pairs, shape, former)
    if isinstance(value, list):
        below = shape[0] if isinstance(shape, list) else "text" if shape == TEXTS else None
        return [_element(item, below) for item in value]
    return _text(value) if isinstance(value, str) else value


def _map(pairs: Any, shape: Any, former: Any) -> dict[str, Any]:
    below = shape["*"] if isinstance(shape, dict) else None
    filled = dict(former) if isinstance(former, dict) else {}
    for key, item in pairs:
        filled[_text(key)] = _element(item, below)
    return filled


def _element(item: Any, shape: Any) -> Any:
    return _zero(shape) if item is None else _fit(item, shape, None)


def _struct(pairs: Any, shape: Shape, former: Any) -> dict[str, Any]:
    found: dict[str, Any] = dict(former) if isinstance(former, dict) else {}
    for key, item in pairs:
        name = key if key in shape.below else shape.folded.get(_folded(key), "")
        if not name:
            continue
        below = shape.below[name]
        if item is not None:
            found[name] = _fit(item, below, found.get(name))
        elif below is not None and not isinstance(below, Shape):
            found.pop(name, None)  # null sets a slice or a map to nil and leaves other values unchanged
    return found


def _zero(shape: Any) -> Any:
    return "" if shape == "text" else {} if isinstance(shape, Shape) else None


def _folded(key: str) -> str:
    # Unicode folds only these two non-ASCII characters to ASCII letters.
    return key.replace("\u017f", "s").replace("\u212a", "k").lower()


def _text(text: str) -> str:
    if text.isascii():
        return text
    return "".join("\ufffd" if 0xD800 <= ord(char) < 0xE000 else char for char in text)

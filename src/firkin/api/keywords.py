"""Checks the arguments of the Python API, one reader for each kind of value. Pure. `builds`, `aio`, `images` only.

A reader takes an argument's name and value, and returns the value in the engine's form: paths as str, lists as
tuples, mappings as pairs. All readers raise UsageError, which names the argument, its type (never its value, which
may be a secret) and what it takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from firkin.builder.request import Secret
from firkin.decode import convert
from firkin.errors import UsageError
from firkin.text import Pairs, is_valid

T = TypeVar("T")
D = TypeVar("D")
Reader = Callable[[str, object], T]
_PYTHON_NAMES = {"array": "tuple", "object": "dict", "null": "None"}  # msgspec names types as JSON does


def optional(read: Reader[T], name: str, value: object) -> T | None:
    """Return None for None, otherwise what the reader returns."""
    return None if value is None else read(name, value)


def given(read: Reader[T], name: str, value: object, default: D) -> T | D:
    """Return the default for None, otherwise what the reader returns."""
    return default if value is None else read(name, value)


def flag(name: str, value: object) -> bool:
    """Read True or False; 0 and 1 are not accepted. Raises UsageError."""
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")
    return value


def integer(name: str, value: object) -> int:
    """Read a whole number; the request checks its range. Raises UsageError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, value, "an int")
    return value


def seconds(name: str, value: object) -> float:
    """Read a number of seconds; cut to 2^62, which no clock exceeds. Raises UsageError."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(name, value, "a number of seconds")
    if not value >= 0:  # NaN is not >= 0 either
        raise UsageError(f"`{name}` is {value}: it takes a number of seconds, 0 or more", code="argument-value")
    return float(min(value, 1 << 62))


def text(name: str, value: object) -> str:
    """Read a text that becomes part of an image, a name or an environment. Raises UsageError."""
    if not isinstance(value, str):
        raise _wrong(name, value, "a str")
    _check_text(f"`{name}`", value)
    return value


def document(name: str, value: object) -> str:
    """Read the text of a file. Raises UsageError."""
    if not isinstance(value, str):
        raise _wrong(name, value, "a str")
    _refuse_surrogates(f"`{name}`", value)
    return value


def path(name: str, value: object) -> str:
    """Read a path; bytes of it that are not UTF-8 become surrogates, as in os.fsdecode. Raises UsageError."""
    found = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(found, str):
        raise _wrong(name, value, "a str or a path of str")
    if not found:
        raise UsageError(f"`{name}` is empty: it takes a path", code="argument-value")
    _refuse_nul(f"`{name}`", found)
    # Surrogates that stand for bytes are allowed.
    _refuse_surrogates(f"`{name}`", "".join(char for char in found if not "\udc80" <= char <= "\udcff"))
    return found


def choice(*choices: str) -> Reader[str]:
    """Return a reader that accepts one of `choices`."""

    def read(name: str, value: object) -> str:
        if not isinstance(value, str):
            raise _wrong(name, value, f"one of {', '.join(choices)}")
        if value not in choices:
            raise UsageError(f"`{name}` is {value!r}: it takes one of {', '.join(choices)}", code="argument-value")
        return value

    return read


def several(read: Reader[T], takes: str, name: str, value: object, *hints: str) -> tuple[T, ...]:
    """Read an iterable of `takes`, e.g. `str`, each of them with `read`.

    A single str is refused, although it is an iterable of str. Raises UsageError.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong(name, value, f"an iterable of {takes}", *hints)
    return tuple(read(f"{name}[{at}]", item) for at, item in enumerate(value))


def texts(name: str, value: object) -> tuple[str, ...]:
    """Read an iterable of str."""
    hints = (f"write a list: `{name}=[{value!r}]`",) if isinstance(value, str) else ()
    return several(text, "str", name, value, *hints)


def text_or_texts(name: str, value: object) -> tuple[str, ...]:
    """Read a str, or an iterable of str."""
    return (text(name, value),) if isinstance(value, str) else texts(name, value)


def mapping(read: Reader[T], takes: str, name: str, value: object) -> tuple[tuple[str, T], ...]:
    """Read a mapping from str to `takes`, each value with `read`. Raises UsageError."""
    if not isinstance(value, Mapping):
        raise _wrong(name, value, f"a mapping from str to {takes}")
    for key in value:
        if not isinstance(key, str):
            raise UsageError(f"`{name}` has a key that is {_type(key)}: its keys are str", code="argument-type")
        _check_text(f"a key of `{name}`", key)
    return tuple((key, read(f"{name}[{key!r}]", item)) for key, item in value.items())


def pairs(name: str, value: object) -> Pairs:
    """Read a mapping from str to str."""
    return mapping(text, "str", name, value)


def places(name: str, value: object) -> Pairs:
    """Read a mapping from str to paths and addresses."""
    return mapping(path, "str or path", name, value)


def secrets(name: str, value: object) -> tuple[Secret, ...]:
    """Read a mapping from ids to values."""
    return tuple(Secret(id, data) for id, data in mapping(_secret, "str or bytes", name, value))


def _secret(name: str, value: object) -> bytes:
    if isinstance(value, str):
        _refuse_surrogates(f"`{name}`", value)
        return value.encode()
    if not isinstance(value, bytes):
        raise _wrong(name, value, "a str or bytes")
    return value


def structure(kind: type[T], *hints: str) -> Reader[T]:
    """Return a reader of a Struct that checks its fields; paths in them become str, iterables tuples."""

    def read(name: str, value: object) -> T:
        if not isinstance(value, kind):
            raise _wrong(name, value, f"a firkin.request.{kind.__name__}", *hints)
        try:
            fields = msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=_plain)
            return convert(fields, kind, builtin_types=(bytes,))
        except (msgspec.ValidationError, TypeError) as error:
            raise UsageError(_reworded(name, str(error)), code="argument-type", hints=hints) from None

    return read


def structures(kind: type[T], *hints: str) -> Reader[tuple[T, ...]]:
    """Return a reader of an iterable of Structs."""
    read = structure(kind, *hints)
    return lambda name, value: several(read, f"firkin.builder.request.{kind.__name__}", name, value, *hints)


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"has a value {_type(value)}, which none of its fields takes")


def _reworded(name: str, message: str) -> str:
    """Return a message of msgspec (``Expected `str`, got `int` - at `$.dest```) in the words of this module."""
    what, _, at = message.partition(" - at ")
    place = f"`{name}{at.strip('`').removeprefix('$')}`"
    words = what.split("`")
    if what.startswith("Expected `") and len(words) == 5:
        takes, got = (" or ".join(_PYTHON_NAMES.get(word, word) for word in part.split(" | ")) for part in words[1::2])
        return f"{place} is of type `{got}`: it takes `{takes}`"
    return f"{place} {what}" if what.startswith("has ") else f"{place}: {what[:1].lower()}{what[1:]}"


def listener(name: str, value: object) -> Callable[..., object]:
    """Read a function. Raises UsageError."""
    if not callable(value):
        raise _wrong(name, value, "a function")
    return value


def check_cancel(name: str, value: object) -> None:
    """Refuse a value without a method `is_set`. Raises UsageError."""
    if value is not None and not callable(getattr(value, "is_set", None)):
        raise _wrong(name, value, "what has `is_set()`, e.g. a threading.Event")


def _wrong(name: str, value: object, takes: str, *hints: str) -> UsageError:
    return UsageError(f"`{name}` is {_type(value)}: it takes {takes}", code="argument-type", hints=hints)


def _type(value: object) -> str:
    return "None" if value is None else f"of type `{type(value).__name__}`"


def _check_text(subject: str, value: str) -> None:
    _refuse_nul(subject, value)
    _refuse_surrogates(subject, value)


def _refuse_nul(subject: str, value: str) -> None:
    if "\0" in value:
        raise UsageError(f"{subject} has a NUL character", code="request-nul")


def _refuse_surrogates(subject: str, value: str) -> None:
    if not is_valid(value):
        raise UsageError(f"{subject} has a surrogate, so it is not UTF-8", code="request-not-utf-8")

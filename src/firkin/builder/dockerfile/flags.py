"""Flags of instructions (`--name=value`) and the grammar of RUN --mount. Pure.

Mirrors: buildkit frontend/dockerfile/instructions/bflag.go and commands_runmount.go. Anybody in
`dockerfile/` may import it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.words import quote
from firkin.decode import convert
from firkin.errors import DockerfileError
from firkin.source import Span
from firkin.text import nearest, parse_bool, parse_size


class FlagSpec(msgspec.Struct, frozen=True):
    """A flag that an instruction accepts."""

    name: str
    kind: Literal["str", "bool", "list"] = "str"


class Flags(msgspec.Struct, frozen=True):
    """The flags of an instruction; the getters return an empty value for a flag that was not given."""

    values: dict[str, tuple[str, ...]]

    def given(self, name: str) -> bool:
        """Say whether the flag was written."""
        return name in self.values

    def text(self, name: str) -> str:
        """Return a `str` flag's value, "" if it was not given."""
        return self.values.get(name, ("",))[0]

    def bool(self, name: str) -> bool:
        """Return a `bool` flag's value."""
        return self.values.get(name, ("false",))[0] == "true"

    def list(self, name: str) -> tuple[str, ...]:
        """Return a `list` flag's values."""
        return self.values.get(name, ())


_NO_FLAGS: Final = Flags({})


def parse_flags(raw: RawInstruction, specs: tuple[FlagSpec, ...] = ()) -> Flags:
    """Check and collect the flags; raises DockerfileError at the instruction."""
    if not raw.flags:
        return _NO_FLAGS
    known = {spec.name: spec.kind for spec in specs}
    values: dict[str, list[str]] = {}
    for flag in raw.flags:
        name, equals, value = flag[2:].partition("=")
        kind = known.get(name)
        if kind is None:
            message = f"unknown flag: --{name}"
            raise DockerfileError(_suggest(message, name, known, "--"), span=raw.span)
        if name in values and kind != "list":
            raise DockerfileError(f"duplicate flag specified: --{name}", span=raw.span)
        if kind == "bool":
            value = _flag_bool(name, value if equals else "true", raw.span)
        elif not equals:
            raise _missing_value(name, raw.span)
        values.setdefault(name, []).append(value)
    return Flags({name: tuple(found) for name, found in values.items()})


def _flag_bool(name: str, value: str, span: Span) -> str:
    if not value:
        raise _missing_value(name, span)
    lowered = value.lower()
    if lowered not in ("true", "false"):
        raise DockerfileError(f"expecting boolean value for flag --{name}, not: {value}", span=span)
    return lowered


def _missing_value(name: str, span: Span) -> DockerfileError:
    return DockerfileError(f"missing a value on flag: --{name}", span=span)


def _suggest(message: str, word: str, known: Iterable[str], prefix: str = "") -> str:
    match = nearest(word, known)
    return f"{message} (did you mean {prefix}{match}?)" if match else message


MountType = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing = Literal["", "shared", "private", "locked"]


class MountSpec(msgspec.Struct, frozen=True):
    """One --mount, expanded and checked.

    If not given, `from_`, `id`, `source`, `target` and `sharing` are "", and `env`, `mode`, `uid`, `gid` are None.
    """

    type: MountType = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    id: str = ""
    env: str | None = None
    readonly: bool = True
    required: bool = False
    sharing: Sharing = ""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size_bytes: int = 0


_MOUNT_TYPES: Final = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING: Final = ("shared", "private", "locked")


def check_mount(text: str, span: Span) -> None:
    """Check what can be checked before expansion: CSV syntax, no variable in `from`. Raises DockerfileError."""
    for field in _csv_fields(text, span):
        key, equals, value = field.partition("=")
        if equals and key.lower() == "from" and "$" in value[:-1]:
            message = "'from' doesn't support variable expansion, define alias stage instead"
            raise DockerfileError(message, span=span)


def mount_from(text: str, span: Span) -> str:
    """Return the `from` of a --mount value as written, "" if it has none. Raises DockerfileError."""
    if "from" not in text.lower():
        return ""
    found = ""
    for field in _csv_fields(text, span):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            found = value
    return found


def parse_mount(text: str, expand: Callable[[str], str], span: Span) -> MountSpec:
    """Parse one --mount value, expanding its values; raises DockerfileError at `span`.

    The order of keys counts: `type` must come before `required` and `size`. Mirrors: parseMount.
    """
    mount = _Mount()
    try:
        for field in _csv_fields(text, span):
            key, equals, value = field.partition("=")
            key = key.lower()
            if equals:
                mount.set(key, expand(value), field)
            else:
                mount.set_bare(key, field)
        return mount.finish()
    except ValueError as error:
        raise DockerfileError(str(error), span=span) from None


class _Mount:
    """A mount while its fields are read."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: dict[str, str | int | bool] = {"type": "bind"}

    def set_bare(self, key: str, field: str) -> None:
        """Read a field without a value."""
        if key not in _BARE_KEYS:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        self.set(key, "true", field)

    def set(self, key: str, value: str, field: str) -> None:
        """Read a field with its expanded value."""
        known = _MOUNT_KEYS.get(key)
        if known is None:
            raise ValueError(_suggest(f"unexpected key '{key}' in '{field}'", key, _MOUNT_KEYS))
        if self.found["type"] not in known.types:
            raise ValueError(f"unexpected key '{key}' for mount type '{self.found['type']}'")
        self.found[known.field] = known.read(key, value)

    def finish(self) -> MountSpec:
        """Check the fields against one another. Mirrors: validateMount."""
        kind, found = str(self.found["type"]), self.found
        if kind not in ("secret", "ssh", "cache"):
            for key in ("mode", "uid", "gid"):
                if key in found:
                    raise ValueError(f"{key} not allowed for {quote(kind)} type mounts")
        if kind == "secret":
            _check_secret(found)
        if "sharing" in found and kind != "cache":
            raise ValueError(f"invalid cache sharing set for {kind} mount")
        return convert({"readonly": kind not in ("cache", "tmpfs"), **found}, MountSpec)


def _check_secret(found: Mapping[str, str | int | bool]) -> None:
    if found.get("from_"):
        raise ValueError("secret mount should not have a from")
    if "sharing" in found:
        raise ValueError("secret mount should not define sharing")
    if not (found.get("source") or found.get("target") or found.get("id")):
        raise ValueError("invalid secret mount. one of source, target required (or `id=`, the secret's name)")
    if found.get("source") and found.get("id"):
        raise ValueError("both source and id can't be set")


def _text(_key: str, value: str) -> str:
    return value


def _type(_key: str, value: str) -> str:
    lowered = value.lower()
    if lowered not in _MOUNT_TYPES:
        raise ValueError(_suggest(f"unsupported mount type {quote(value)}", value, _MOUNT_TYPES))
    return lowered


def _sharing(_key: str, value: str) -> str:
    lowered = value.lower()
    if lowered not in _SHARING:
        raise ValueError(_suggest(f"unsupported sharing value {quote(value)}", value, _SHARING))
    return lowered


def _bool(key: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _not_bool(key: str, value: str) -> bool:
    return not _bool(key, value)


def _mode(key: str, value: str) -> int:
    return _number(key, value, 8) & 0o7777


def _id(key: str, value: str) -> int:
    return _number(key, value, 10)


def _number(key: str, value: str, base: int) -> int:
    digits = "0123456789"[:base]
    if value and not value.strip(digits) and len(value) < 40:
        number = int(value, base)
        if number < 1 << 32:
            return number
    raise ValueError(f"invalid value {value} for {key}")


def _size(key: str, value: str) -> int:
    try:
        return parse_size(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


class _MountKey(NamedTuple):
    """A key of --mount: the field of MountSpec that it sets, and the reader of its value.

    `types` are the types of mounts that may have it.
    """

    field: str
    read: Callable[[str, str], str | int | bool]
    types: tuple[str, ...] = _MOUNT_TYPES


_MOUNT_KEYS: Final = {
    "type": _MountKey("type", _type),
    "from": _MountKey("from_", _text),
    "source": _MountKey("source", _text),
    "target": _MountKey("target", _text),
    "readonly": _MountKey("readonly", _bool),
    "id": _MountKey("id", _text),
    "sharing": _MountKey("sharing", _sharing),
    "required": _MountKey("required", _bool, ("secret", "ssh")),
    "size": _MountKey("size_bytes", _size, ("tmpfs",)),
    "mode": _MountKey("mode", _mode),
    "uid": _MountKey("uid", _id),
    "gid": _MountKey("gid", _id),
    "env": _MountKey("env", _text),
    "src": _MountKey("source", _text),
    "dst": _MountKey("target", _text),
    "destination": _MountKey("target", _text),
    "ro": _MountKey("readonly", _bool),
    "rw": _MountKey("readonly", _not_bool),
    "readwrite": _MountKey("readonly", _not_bool),
}
_BARE_KEYS: Final = ("readonly", "ro", "readwrite", "rw", "required")


def _csv_fields(text: str, span: Span) -> list[str]:
    """Split one CSV record. Mirrors: Go encoding/csv (no lazy quotes)."""
    if not text:
        raise DockerfileError("failed to parse csv mounts: it is empty", span=span)
    fields = []
    position, size = 0, len(text)
    while True:
        if text.startswith('"', position):
            out = []
            position += 1
            while True:
                close = text.find('"', position)
                if close < 0:
                    raise _csv_error('extraneous or missing " in quoted-field', position, span)
                out.append(text[position:close])
                position = close + 1
                if not text.startswith('"', position):
                    break
                out.append('"')
                position += 1
            if position < size and text[position] != ",":
                raise _csv_error('extraneous or missing " in quoted-field', position, span)
            fields.append("".join(out))
        else:
            comma = text.find(",", position)
            end = size if comma < 0 else comma
            if '"' in text[position:end]:
                raise _csv_error('bare " in non-quoted-field', text.index('"', position), span)
            fields.append(text[position:end])
            position = end
        if position >= size:
            return fields
        position += 1


def _csv_error(message: str, position: int, span: Span) -> DockerfileError:
    return DockerfileError(f"failed to parse csv mounts: column {position + 1}: {message}", span=span)


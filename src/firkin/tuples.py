"""Named tuples that cost next to nothing to define. Pure. Any module may import it.

    from firkin.tuples import NamedTuple

`typing` and what it loads take as long as the interpreter's own start, and each NamedTuple of it a third of a
millisecond. What every short command loads takes this one instead; for type checkers it is that of `typing`.
Mirrors: collections.namedtuple.
"""

from _collections import _tuplegetter  # what collections.namedtuple reads fields with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Made(type):
    """Makes a class of annotated fields one of tuples."""

    def __new__(cls, name: str, bases: tuple[type, ...], space: "dict[str, Any]") -> "_Made":
        if tuple not in bases:
            fields = tuple(space.get("__annotations__", ()))
            space["_field_defaults"] = {field: space[field] for field in fields if field in space}
            space["_fields"] = space["__match_args__"] = fields
            for at, field in enumerate(fields):
                space[field] = _tuplegetter(at, "")
        space["__slots__"] = ()
        return super().__new__(cls, name, bases, space)


class _NamedTuple(tuple, metaclass=_Made):  # type: ignore[type-arg]
    """The base of a class with annotated fields, some with defaults. Not for classes below those."""

    if TYPE_CHECKING:
        _fields: tuple[str, ...]
        _field_defaults: dict[str, Any]

    def __new__(cls, *values: "Any", **named: "Any") -> "_NamedTuple":
        if named or len(values) != len(cls._fields):
            values = cls._completed(values, named)
        return tuple.__new__(cls, values)

    @classmethod
    def _completed(cls, values: "tuple[Any, ...]", named: "dict[str, Any]") -> "tuple[Any, ...]":
        fields, known = cls._fields, {**cls._field_defaults, **named}
        rest = fields[len(values) :]
        if len(values) > len(fields):
            raise TypeError(f"{cls.__name__} has {len(fields)} fields, not {len(values)}")
        unknown = named.keys() - set(rest)
        if unknown:
            raise TypeError(f"{cls.__name__} has no fields {sorted(unknown)}, or has them already")
        missing = [field for field in rest if field not in known]
        if missing:
            raise TypeError(f"{cls.__name__} lacks {missing}")
        return (*values, *(known[field] for field in rest))

    def __getnewargs__(self) -> "tuple[Any, ...]":
        return tuple(self)

    def __repr__(self) -> str:
        pairs = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self))
        return f"{type(self).__name__}({pairs})"

    def _asdict(self) -> "dict[str, Any]":
        return dict(zip(self._fields, self))

    def _replace(self, **named: "Any") -> "_NamedTuple":
        values = [named.pop(field, value) for field, value in zip(self._fields, self)]
        if named:
            raise TypeError(f"{type(self).__name__} has no fields {sorted(named)}")
        return type(self)(*values)


if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    NamedTuple = _NamedTuple

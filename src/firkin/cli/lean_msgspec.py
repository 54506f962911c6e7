"""Sees to it that msgspec and typing are loaded without what they load for features that nothing here uses. Does I/O.

Import it before both, which are then loaded when they are imported first: some commands do without. Both import `re`,
and with it `enum`, for patterns that nothing here has; that takes as long as the rest of them.

msgspec imports `typing_extensions` if it is installed (`typing` has the same names), `uuid` and `decimal` for values of
these types, and `inspect` and the JSON schemas, which load `textwrap` and `dataclasses`: together a fifth of what a
short command takes. While it is loaded, empty modules stand in for them; afterwards each is loaded by who wants it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_Names: Any = type(sys.implementation)  # types.SimpleNamespace


class _Nothing:
    """Stands for a type that no value has."""


class _Finder:
    """Finds one module once, as the interpreter would, and loads it while others stand in for what it imports."""

    def __init__(self, name: str, standing_in: Callable[[], dict[str, Any]]) -> None:
        self._name = name
        self._standing_in = standing_in

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how the module is loaded, None for everything else."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, None)
            if spec is not None and spec.loader is not None:
                loader: Any = _Loader(spec.loader, self._standing_in)
                spec.loader = loader
                return spec
        return None


class _Loader:
    """Loads a module while others stand in; afterwards whoever wants them loads them."""

    def __init__(self, usual: Any, standing_in: Callable[[], dict[str, Any]]) -> None:
        self._usual = usual
        self._standing_in = standing_in

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usual, name)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        standing_in = self._standing_in()
        if any(name in sys.modules for name in standing_in):
            self._usual.exec_module(module)
            return
        sys.modules.update(standing_in)
        try:
            self._usual.exec_module(module)
        finally:
            for name in standing_in:
                sys.modules.pop(name, None)


def _for_msgspec() -> dict[str, Any]:
    import _datetime

    return {
        "typing_extensions": None,
        "uuid": _Names(UUID=_Nothing, SafeUUID=_Names(unknown=None)),
        "datetime": _datetime,  # what the module of this name has in the end
        "decimal": _Names(Decimal=_Nothing),
        "enum": _Names(EnumMeta=_Nothing),
        **_for_typing(),
        "msgspec.inspect": _Names(),
        "msgspec._json_schema": _Names(schema=None, schema_components=None),
        "msgspec.toml": _Names(),
        "msgspec.yaml": _Names(),
    }


def _compile(pattern: str) -> Any:
    import re

    return re.compile(pattern)


def _for_typing() -> dict[str, Any]:
    import _sre

    pattern = _sre.compile("", 0, [1], 0, {}, ())  # the code of the empty pattern: SUCCESS
    return {"re": _Names(Pattern=type(pattern), Match=type(pattern.match("")), compile=_compile)}


if "msgspec" not in sys.modules:
    sys.meta_path.insert(0, _Finder("msgspec", _for_msgspec))
if "typing" not in sys.modules and sys.version_info < (3, 13):  # later ones import `re` when they need it
    sys.meta_path.insert(0, _Finder("typing", _for_typing))

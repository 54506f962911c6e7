"""Sees to it that msgspec is loaded without what it loads for features that nothing here uses. Does I/O.

Import it before msgspec, which is then loaded when it is imported first: some commands do without.

msgspec imports `typing_extensions` if it is installed (`typing` has the same names), `uuid` and `decimal` for values of
these types, and `inspect` and the JSON schemas, which load `textwrap` and `dataclasses`: together a fifth of what a
short command takes. While it is loaded, empty modules stand in for them; afterwards each is loaded by who wants it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_Names: Any = type(sys.implementation)  # types.SimpleNamespace


class _Nothing:
    """Stands for a type that no value has."""


class _Finder:
    """Finds msgspec once, as the interpreter would, and loads it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how msgspec is loaded, None for everything else."""
        if name != "msgspec":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, None)
            if spec is not None and spec.loader is not None:
                loader: Any = _Loader(spec.loader)
                spec.loader = loader
                return spec
        return None


class _Loader:
    """Loads msgspec while others stand in; afterwards whoever wants them loads them."""

    def __init__(self, usual: Any) -> None:
        self._usual = usual

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usual, name)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        standing_in = _standing_in()
        if any(name in sys.modules for name in standing_in):
            self._usual.exec_module(module)
            return
        sys.modules.update(standing_in)
        try:
            self._usual.exec_module(module)
        finally:
            for name in standing_in:
                sys.modules.pop(name, None)


def _standing_in() -> dict[str, Any]:
    import _datetime

    return {
        "typing_extensions": None,
        "uuid": _Names(UUID=_Nothing, SafeUUID=_Names(unknown=None)),
        "datetime": _datetime,  # what the module of this name has in the end
        "decimal": _Names(Decimal=_Nothing),
        "msgspec.inspect": _Names(),
        "msgspec._json_schema": _Names(schema=None, schema_components=None),
        "msgspec.toml": _Names(),
        "msgspec.yaml": _Names(),
    }


if "msgspec" not in sys.modules:
    sys.meta_path.insert(0, _Finder())

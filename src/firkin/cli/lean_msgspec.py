"""Loads msgspec without what it loads for features that nothing here uses. Does I/O. Import it before msgspec.

msgspec imports `typing_extensions` if it is installed (`typing` has the same names), `uuid` and `decimal` for values of
these types, and `inspect` and the JSON schemas, which load `textwrap` and `dataclasses`: together a fifth of what a
short command takes. While it is loaded, empty modules stand in for them; afterwards each is loaded by who wants it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any


class _Nothing:
    """Stands for a type that no value has."""


_STANDING_IN: dict[str, Any] = {
    "typing_extensions": None,
    "uuid": SimpleNamespace(UUID=_Nothing, SafeUUID=SimpleNamespace(unknown=None)),
    "datetime": import_module("_datetime"),  # what the module of this name has in the end
    "decimal": SimpleNamespace(Decimal=_Nothing),
    "msgspec.inspect": SimpleNamespace(),
    "msgspec._json_schema": SimpleNamespace(schema=None, schema_components=None),
    "msgspec.toml": SimpleNamespace(),
    "msgspec.yaml": SimpleNamespace(),
}


def _load() -> None:
    if "msgspec" in sys.modules or any(name in sys.modules for name in _STANDING_IN):
        return
    sys.modules.update(_STANDING_IN)
    try:
        import msgspec  # noqa: F401
    finally:
        for name in _STANDING_IN:
            sys.modules.pop(name, None)


_load()

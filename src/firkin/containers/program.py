"""The monitor's program: compiled code of parts, which monitor and sandbox share. Does I/O."""

from __future__ import annotations

import functools
import marshal
import os
from importlib.machinery import SourceFileLoader
from typing import Any

from firkin.errors import HostError
from firkin.sandbox.spawn import container_codes

# In this order; a part may use names of those before it.
_PARTS = (
    "wire", "clock", "loop", "files", "notes", "log_lines", "log_files", "connection", "spawning", "streams", "health",
    "execs", "probing", "removal", "life", "requests", "serving",
)  # fmt: skip
_SHARED = ("folders", "cgroups")
_PLACE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(_PLACE)


def program() -> bytes:
    """Return the monitor's program: a marshalled tuple of code objects. Raises HostError."""
    shared = (_code(f"{_ROOT}/linux/{name}.py") for name in _SHARED)
    return marshal.dumps((*container_codes(), *shared, *(_code(f"{_PLACE}/monitor/{name}.py") for name in _PARTS)))


@functools.cache
def _code(path: str) -> Any:
    name = "firkin_monitor_" + os.path.basename(path)[:-3]
    code = SourceFileLoader(name, path).get_code(name)
    if code is None:
        raise HostError(f"`{path}` is missing from this installation", code="monitor-start")
    return code

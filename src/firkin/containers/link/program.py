"""The monitor's program: compiled code of parts, which monitor and sandbox share. Does I/O."""

from __future__ import annotations

import marshal
import os

from firkin.sandbox.parts import FOR_CONTAINERS, marshalled

# In this order; a part may use names of those before it.
_PARTS = (
    "wire", "clock", "loop", "files", "notes", "log_lines", "log_files", "connection", "spawning", "streams", "health",
    "execs", "probing", "removal", "limits", "life", "requests", "serving",
)  # fmt: skip
_SHARED = ("folders", "cgroups")
_CONTAINERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_ROOT = os.path.dirname(_CONTAINERS)


def program() -> bytes:
    """Return the monitor's program: a marshalled tuple of marshalled code objects. Raises HostError."""
    shared = (f"{_ROOT}/linux/{name}.py" for name in _SHARED)
    parts = (f"{_CONTAINERS}/monitor/{name}.py" for name in _PARTS)
    return marshal.dumps(tuple(map(marshalled, (*FOR_CONTAINERS, *shared, *parts))))

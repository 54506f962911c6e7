"""The parts of stand-alone programs, compiled and marshalled, as other processes execute them. Does I/O.

They are not loaded here: what the interpreter's cache of compiled modules has is passed on as it is.
"""

from __future__ import annotations

import marshal
import os
from _frozen_importlib_external import MAGIC_NUMBER, cache_from_source  # importlib.util loads threading

from firkin.errors import HostError

_PLACE = os.path.dirname(os.path.abspath(__file__))
_HEADER = 16  # of a .pyc: magic, flags, and of the source its time and size (PEP 552)
_BITS_32 = 0xFFFFFFFF
# They define `contain` (`init/contain.py`), which starts containers.
FOR_CONTAINERS = tuple(
    os.path.normpath(f"{_PLACE}/{name}.py")
    for name in (
        "operations", "../oci/users", "init/kernel", "init/image_root", "init/mount_calls", "init/real_mounts",
        "init/container_mounts", "init/command", "init/reaper", "init/contain",
    )
)  # fmt: skip


def marshalled(path: str) -> bytes:
    """Return the code of a source file, marshalled. Raises HostError."""
    return _cached(path) or _compiled(path)


def _cached(path: str) -> bytes:
    """Return what the cache has of the file as it is now, b"" if it has nothing."""
    try:
        source = os.stat(path)
        with open(cache_from_source(path), "rb", buffering=0) as file:
            data = file.read()
    except (OSError, NotImplementedError):
        return b""
    about = (0, int(source.st_mtime) & _BITS_32, source.st_size & _BITS_32)
    header = MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in about)
    return data[_HEADER:] if data[:_HEADER] == header else b""


def _compiled(path: str) -> bytes:
    from importlib.machinery import SourceFileLoader

    name = "firkin_part_" + os.path.basename(path)[:-3]
    try:
        code = SourceFileLoader(name, path).get_code(name)  # also with a cache of another kind; it fills the cache
    except OSError:
        code = None
    if code is None:
        raise HostError(f"`{path}` is missing from this installation", code="sandbox-start")
    return marshal.dumps(code)

"""Finds modules of firkin with fewer steps than the interpreter's own finder. Does I/O. `cli.main` only.

A command loads dozens of small modules. The usual finder looks at each entry of its path, lists directories, and asks
several times for the state of a file, which takes longer than loading the module. This one knows where a module is: in
its package, with its bytecode beside it. Bytecode is taken by the usual rule: it names the time and the size of its
source (PEP 552). Whatever is not so (no bytecode yet, another kind of it, a package in an archive) is left to the
usual finder and loader, which also write bytecode.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
from _imp import _fix_co_filename  # type: ignore[attr-defined]
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

_BEGIN = MAGIC_NUMBER + bytes(4)  # the flags of bytecode that is checked by time and size
_HEADER = 16
_END = f".{sys.implementation.cache_tag}.pyc"


class _Loader(SourceFileLoader):
    """Takes bytecode that is fresh, and leaves everything else to the usual loader."""

    source: os.stat_result
    bytecode: str

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of the module."""
        data = _read(self.bytecode)
        source = self.source
        times = int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF
        if data.startswith(_BEGIN) and data[8:_HEADER] == b"".join(time.to_bytes(4, "little") for time in times):
            code: CodeType = loads(memoryview(data)[_HEADER:])
            _fix_co_filename(code, self.path)
            return code
        return super().get_code(fullname)


class _Finder:
    """Finds modules within packages of firkin."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Return where a module is, None for whatever the usual finder has to find."""
        if path is None or not name.startswith("firkin."):
            return None
        folder, last = path[0], name.rpartition(".")[2]
        source, bytecode = f"{folder}/{last}.py", f"{folder}/__pycache__/{last}{_END}"
        places = None
        try:
            found = os.stat(source)
        except OSError:
            places = [f"{folder}/{last}"]
            source, bytecode = f"{places[0]}/__init__.py", f"{places[0]}/__pycache__/__init__{_END}"
            try:
                found = os.stat(source)
            except OSError:
                return None
        loader = _Loader(name, source)
        loader.source, loader.bytecode = found, bytecode
        spec = ModuleSpec(name, loader, origin=source, is_package=places is not None)
        spec.submodule_search_locations = places
        spec.has_location = True
        spec.cached = bytecode
        return spec


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def install() -> None:
    """Find modules of firkin so from now on, where bytecode is in its usual place."""
    if sys.pycache_prefix is None and not sys.flags.optimize:
        sys.meta_path.insert(0, _Finder)

"""The monitor's program: its parts, some of which are the sandbox's, and how its interpreter loads them. Does I/O."""

from __future__ import annotations

import os

from firkin.sandbox.parts import FOR_CONTAINERS

# In this order; a part may use names of those before it.
_PARTS = (
    "wire", "clock", "loop", "files", "notes", "log_lines", "log_files", "connection", "spawning", "streams", "health",
    "execs", "probing", "removal", "limits", "life", "requests", "serving",
)  # fmt: skip
_SHARED = ("folders", "cgroups")
_CONTAINERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_ROOT = os.path.dirname(_CONTAINERS)
# The loader of the interpreter does the same for a part, in four times the time: it looks at the cache of compiled
# modules.
CODE_OF = """
import _frozen_importlib_external as external
magic, tag = external.MAGIC_NUMBER, sys.implementation.cache_tag
def code_of(path):
    try:
        source = os.stat(path)
        folder, _, name = path.rpartition('/')
        fd = os.open(f'{folder}/__pycache__/{name[:-2]}{tag}.pyc', os.O_RDONLY)
        data = memoryview(os.read(fd, os.fstat(fd).st_size))
        os.close(fd)
        about = (0, int(source.st_mtime) & 0xffffffff, source.st_size & 0xffffffff)
        if data[:16] == magic + b''.join([number.to_bytes(4, 'little') for number in about]):
            return marshal.loads(data[16:])
    except (OSError, ValueError, EOFError, TypeError):
        pass
    return external.SourceFileLoader(path, path).get_code(path)
"""
# The first process ends at once, so that the monitor is nobody's child; only then the program is loaded. What is loaded
# stays, so nothing looks for garbage in it. The first part is what the others know as `ctypes`.
_LOADER = f"""
import gc, marshal, os, sys
os.fork() and os._exit(0)
gc.disable()
{CODE_OF}
sys.modules['ctypes'] = type(sys)('ctypes')
exec(code_of(paths[0]), sys.modules['ctypes'].__dict__)
for path in paths[1:]: exec(code_of(path))
del paths, path, code_of, external, magic, tag
gc.freeze()
gc.enable()
"""


def loader(link: int) -> bytes:
    """Return what the monitor's interpreter executes; `link` is its connection to whoever starts it."""
    shared = [f"{_ROOT}/linux/{name}.py" for name in _SHARED]
    own = [f"{_CONTAINERS}/monitor/{name}.py" for name in _PARTS]
    paths = (f"{_ROOT}/linux/slim_ctypes.py", *FOR_CONTAINERS, *shared, *own)
    return f"paths = {paths}{_LOADER}serve({link})".encode("utf-8", "surrogateescape")

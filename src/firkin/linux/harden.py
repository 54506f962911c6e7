"""Protects firkin from the commands of a build if both share a process list or a root. Does I/O. `worker`, `cli` and
`builder/solve` use it.

Without namespaces a command sees firkin's processes, and in place it can replace every file that firkin
might still load. So no process may read this one's memory, and all code is loaded before the first command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module

from firkin.linux import syscalls
from firkin.linux.mounts import iter_mount_points

# The executor image has all files of firkin here.
OWN_DIRECTORY = "/kaniko"

# The interpreter may load these at any time.
_STANDARD = (
    "encodings.idna", "encodings.ascii", "encodings.latin_1", "encodings.utf_8_sig", "traceback", "linecache", "ctypes",
    "socket", "select", "ssl", "sqlite3", "shutil", "subprocess", "tempfile", "tarfile", "zlib", "bz2", "lzma",
    "pycurl", "isal.isal_zlib", "zstandard", "msgspec", "hashlib", "hmac", "secrets", "random", "base64", "fnmatch",
)  # fmt: skip
# Separate programs, and modules that only tests use.
_NOT_MODULES = ("__main__.py",)
_NOT_FOLDERS = ("testing", "__pycache__", "init")


def in_executor_image() -> bool:
    """Say whether this is firkin's own image, whose root no other program needs."""
    return os.path.realpath(sys.executable).startswith(OWN_DIRECTORY + "/")


def list_private(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files that are at these paths and in these directories, links resolved."""
    found = []
    for path in paths:
        real = os.path.realpath(path)
        if os.path.isfile(real):
            found.append(real)
        for folder, _, names in os.walk(real):
            found += [os.path.realpath(f"{folder}/{name}") for name in names]
    return tuple(path for path in dict.fromkeys(found) if os.path.isfile(path))


def find_exposed(paths: tuple[str, ...], needed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return those of the files at these paths that a build should not remove while it runs.

    Files on mounts belong to others, who might not get them back; files at or below `needed` are in use.
    """
    found = list_private(paths)
    if not found:
        return ()
    around = [os.path.realpath(path) for path in needed if path.startswith("/")]
    around += [path for path, _ in iter_mount_points() if path != "/"]
    return tuple(
        path
        for path in found
        if not os.access(os.path.dirname(path), os.W_OK) or any(f"{path}/".startswith(f"{place}/") for place in around)
    )


def hide_process() -> None:
    """Keep others from reading this process's memory, environment and descriptors; inherited by forks.

    Call it after the id maps were written.
    """
    syscalls.set_dumpable(False)


def load_everything(rooms: tuple[str, ...] = ()) -> None:
    """Import all of firkin, or the packages `rooms`, and all that may be imported later; fix how names are looked up.

    glibc reads /etc/nsswitch.conf again when the file changes, and loads the libraries that it names.
    """
    sys.dont_write_bytecode = True
    for module in _own_modules(rooms):
        _import(module)
    for name in () if rooms else _STANDARD:
        _import(name)
    _fix_name_service()


def _own_modules(rooms: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of firkin's modules, or of those in `rooms`."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for folder, folders, names in os.walk(package):
        folders[:] = [name for name in folders if name not in _NOT_FOLDERS]
        if rooms and folder == package:
            folders[:] = [name for name in folders if name in rooms]
        for name in names:
            path = os.path.relpath(f"{folder}/{name}", package)
            if name.endswith(".py") and path not in _NOT_MODULES:
                module = path[:-3].replace("/", ".").removesuffix("__init__").rstrip(".")
                yield f"firkin.{module}" if module else "firkin"


def _import(name: str) -> None:
    try:
        import_module(name)
    except ImportError:
        pass  # it needs an optional package


def _fix_name_service() -> None:
    import ctypes

    try:
        configure = ctypes.CDLL(None).__nss_configure_lookup
    except AttributeError:
        return  # this is not glibc: nothing to fix
    for database, services in ((b"hosts", b"files dns"), (b"passwd", b"files"), (b"group", b"files")):
        configure(database, services)

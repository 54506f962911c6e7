"""The engine of containers of an invocation. Does I/O. `cli.commands` only."""

from __future__ import annotations

import os

from firkin.ambient import absolute, config_files, store_root
from firkin.containers import opening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.cli.command import Invocation
    from firkin.containers.home.engine import Engine

_WORDS = (b"root", b"containers", b"unpack", b"\\")


def open_engine(invocation: Invocation) -> Engine:
    """Return the engine of the store that an invocation names."""
    arguments, ambient = invocation
    runtime = ambient.environ.get("XDG_RUNTIME_DIR", "")
    if arguments.text("config") or any(map(_may_say, config_files(ambient))):
        from firkin.cli.requests import settings_of

        settings = settings_of(arguments, ambient)
        return opening.open_engine(settings.root, runtime=runtime, defaults=settings.containers, limits=settings.unpack)
    # Then nothing of builds and registries has to be loaded, nor what reads TOML.
    root = arguments.text("root")
    return opening.open_engine(absolute(ambient.cwd, root) if root else store_root(ambient), runtime=runtime)


def _may_say(path: str) -> bool:
    """Say whether a config.toml may say something of containers: one that has such a word, or quotes a character."""
    if not os.path.lexists(path):
        return False
    from firkin.linux.files import read_named

    try:
        data = read_named(path)
    except OSError:
        return True  # whoever reads all of it knows what to say
    return any(word in data for word in _WORDS)

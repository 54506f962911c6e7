"""`firkin create`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firkin.ambient import absolute
from firkin.cli.command import Invocation
from firkin.cli.containers.making import Wish, make
from firkin.cli.containers.making_options import CREATE
from firkin.cli.engine import open_engine
from firkin.cli.run import write_out

if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine

USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
ABOUT = "Make a container and print its id. `firkin start` starts it."
OPTIONS = CREATE
INTERSPERSED = False


def run(invocation: Invocation) -> int:
    """Make a container, pull its image before if it is not here. Raises FirkinError."""
    wish, engine = Wish(invocation, "create"), open_engine(invocation)
    id = make(wish, engine, wish.request)
    bundle = invocation.arguments.text("bundle")
    if bundle:
        _write_bundle(engine, id, absolute(invocation.ambient.cwd, bundle))
    write_out(f"{id}\n")
    return 0


def _write_bundle(engine: Engine, id: str, directory: str) -> None:
    """Write the bundle; without it, the container does not stay. Raises FirkinError."""
    from firkin.containers.bundle import write_bundle
    from firkin.containers.remove import remove

    try:
        write_bundle(engine, engine.home.record(id), directory)
    except BaseException:
        remove(engine, id, force=True, volumes=True)
        raise

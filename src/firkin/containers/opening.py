"""Opens an engine as fronts use it: one that mends what deaths left of containers. Does I/O."""

from __future__ import annotations

from firkin.containers.home.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.containers.documents.merge import Defaults
    from firkin.containers.documents.record import State
    from firkin.layer.limits import UnpackLimits


def open_engine(
    root: str, *, runtime: str = "", defaults: Defaults | None = None, limits: UnpackLimits | None = None
) -> Engine:
    """Return the engine of the store at `root`; arguments as of Engine."""
    return Engine(root, runtime=runtime, defaults=defaults, limits=limits, mend=_mend, sweep=_sweep)


def _mend(engine: Engine, id: str) -> State | None:
    from firkin.containers.mending import mend  # most commands meet no container that needs it

    return mend(engine, id)


def _sweep(engine: Engine) -> None:
    from firkin.containers.keeping.leftovers import sweep

    sweep(engine)

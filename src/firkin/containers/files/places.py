"""Which place work on a container's files needs: where it runs, or where it rests, with its lock. Does I/O."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firkin.containers.files.inside import Place, View
from firkin.errors import ContainerError

if TYPE_CHECKING:
    from firkin.containers.documents.record import Record, State
    from firkin.containers.home.engine import Engine


@contextmanager
def standing(engine: Engine, record: Record, *, writes: bool) -> Iterator[Place]:
    """Yield where the files of a container are seen as it sees them, volumes and all.

    To write to one that does not run, its lock is held meanwhile, so that nobody starts it. Raises ContainerError.
    """
    state = engine.home.state(record.id)
    if _runs(state):
        yield _place(engine, record, "live", state, writes)
    elif not writes:
        yield _place(engine, record, "rest", state, False)
    else:
        with engine.home.locked(record.id):
            state = engine.home.state(record.id)
            if state.running and not _runs(state):
                raise ContainerError(
                    f"Container {record.id} is restarting, wait until the container is running",
                    kind="conflict", code="container-restarting",
                )  # fmt: skip
            yield _place(engine, record, "live" if _runs(state) else "rest", state, True)


def bare(engine: Engine, record: Record, view: View) -> Place:
    """Return where only the container's own files are seen: `layers` (its root) or `files` (this machine's paths)."""
    return _place(engine, record, view, None, False)


def _runs(state: State) -> bool:
    return state.running and not state.restarting and state.pid > 0


def _place(engine: Engine, record: Record, view: View, state: State | None, writes: bool) -> Place:
    backend = engine.backend()
    return Place(
        view=view,
        directory=engine.home.directory(record.id),
        trees=tuple(tree_path(engine, tree) for tree in record.trees),
        enter=backend.enter,
        mounts=record.mounts,
        process=(0, 0, "") if state is None else (state.pid, state.started_ticks, state.boot),
        writes=writes,
        readonly=record.host_config.readonly_rootfs,
        single_id=backend.single_id,
    )


def tree_path(engine: Engine, tree: str) -> str:
    """Return the diff directory of one of a container's layers."""
    return f"{engine.root}/trees/{tree}/fs"

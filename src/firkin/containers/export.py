"""The files of a container as one flat tar, without its volumes. Does I/O.

Running or not, its layers are mounted once more, read-only, so mounts do not get in. Mirrors: moby daemon/export.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from firkin.containers.documents.lifecycle import answer
from firkin.containers.files.archive_tar import TarPieces
from firkin.containers.files.inside import Inner, inside
from firkin.containers.files.owners import recorded_owners
from firkin.containers.files.places import bare
from firkin.errors import ContainerError

if TYPE_CHECKING:
    from firkin.containers.documents.record import Record
    from firkin.containers.home.engine import Engine
    from firkin.layer.scan import OwnerOf


@contextmanager
def export(engine: Engine, record: Record) -> Iterator[Iterator[bytes]]:
    """Yield the tar. Raises ContainerError, also while it is read; `conflict` for a container that is being removed."""
    if answer("export", engine.home.state(record.id)) != "do":
        raise ContainerError(
            f"You cannot export container {record.id} which is being removed", kind="conflict", code="removing"
        )
    place = bare(engine, record, "layers")
    with inside(place, partial(_export_job, recorded_owners(place))) as session:
        yield session.read()
    engine.container_event("export", record)


def _export_job(owners: OwnerOf | None, inner: Inner) -> bytes:
    tar = TarPieces(owners)
    inner.send(tar.folder("/.", "", top=False))
    inner.write(tar.end())
    return b""

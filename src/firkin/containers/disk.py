"""How much space containers and volumes take: what `system df` tells. Does I/O. Mirrors: moby SystemDiskUsage."""

from __future__ import annotations

import msgspec

from firkin.containers.documents.record import Record, State
from firkin.containers.files.sizes import directory_sizes
from firkin.containers.home.engine import Engine
from firkin.containers.volumes.shelf import Volumes


class ContainerUse(msgspec.Struct, frozen=True):
    """A container, and the bytes of what it wrote to its own layer."""

    record: Record
    state: State
    size_bytes: int

    @property
    def volumes(self) -> int:
        """How many volumes it mounts."""
        return sum(mount.type == "volume" for mount in self.record.mounts)


class VolumeUse(msgspec.Struct, frozen=True):
    """A volume: its bytes, and how many containers mount it."""

    name: str
    size_bytes: int
    links: int


class DiskUse(msgspec.Struct, frozen=True):
    """All containers, newest first, and all volumes by name."""

    containers: tuple[ContainerUse, ...] = ()
    volumes: tuple[VolumeUse, ...] = ()


def disk_use(engine: Engine) -> DiskUse:
    """Measure all containers and volumes. Raises HostError when no namespaces can be had to look into them."""
    shelf, home = Volumes(engine), engine.home
    entries = sorted(home.entries(), key=lambda entry: entry.record.created, reverse=True)
    places = {entry.record.id: f"{home.directory(entry.record.id)}/upper" for entry in entries}
    data = {name: shelf.data(name) for name in shelf.names()}
    sizes = directory_sizes(engine, (*places.values(), *data.values()))
    return DiskUse(
        tuple(ContainerUse(entry.record, entry.state, sizes[places[entry.record.id]]) for entry in entries),
        tuple(VolumeUse(name, sizes[path], len(shelf.users(name))) for name, path in data.items()),
    )

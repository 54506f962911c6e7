"""The containers of a store, newest first, as a list shows them. Does I/O.

Two small files are read for each container, and for each name of an image that is shown two documents of the store.
Mirrors: moby daemon/list.go, api/types/container Summary, as Engine 28 has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from firkin.containers.documents.filter import Values, read_filter
from firkin.containers.documents.lifecycle import status_of
from firkin.containers.documents.networks import endpoints
from firkin.containers.documents.record import MountPoint, Record
from firkin.containers.documents.status import status_words
from firkin.containers.home.engine import Engine
from firkin.containers.home.home import Entry, Home
from firkin.containers.keeping.image_names import ImageNames
from firkin.text import seconds_of
from firkin.tuples import NamedTuple


class Wanted(NamedTuple):
    """`every`: stopped ones too; `limit`: the newest, whatever their state, 0 for all; `filters` are checked here."""

    every: bool = False
    limit: int = 0
    filters: Values = {}


class Sizes(NamedTuple):
    """Bytes of the read-write layer, and of all layers together."""

    rw: int
    root: int


class Listed(NamedTuple):
    """One container of a list; `image` is what it is called now: the id (with `sha256:`) once its name moved on."""

    entry: Entry
    image: str


def list_containers(engine: Engine, wanted: Wanted) -> list[Listed]:
    """Return containers that fit, newest first. Raises ContainerError for a filter that cannot be."""
    images = ImageNames(engine)
    asked = read_filter(wanted.filters, images.is_from)
    entries = sorted(engine.home.entries(unreadable=True), key=_time_of, reverse=True)
    entries = _between(engine.home, entries, wanted.filters)
    every = wanted.every or wanted.limit > 0 or asked.every
    chosen: list[Listed] = []
    for entry in entries:
        if (every or entry.state.running) and asked.fits(entry.record, entry.state):
            chosen.append(Listed(entry, images.shown(entry.record)))
            if len(chosen) == wanted.limit:
                break
    return chosen


def sizes_of(engine: Engine, records: Sequence[Record]) -> dict[str, Sizes]:
    """Return by id how large containers are, without holding any of them. Raises HostError."""
    from firkin.containers.files.sizes import root_bytes, written_bytes

    written, together = written_bytes(engine, [record.id for record in records]), root_bytes(engine, records)
    return {record.id: Sizes(written[record.id], together[record.id]) for record in records}


def summary(listed: Listed, now_s: float, sizes: Sizes | None = None) -> dict[str, Any]:
    """Return a container as an element of `GET /containers/json`; `now_s` is the time that its status counts to."""
    record, state = listed.entry
    sized = {} if sizes is None else {"SizeRw": sizes.rw, "SizeRootFs": sizes.root}
    annotations = record.host_config.annotations
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": listed.image,
        "ImageID": record.image,
        "Command": command_text(record),
        "Created": int(seconds_of(record.created) or 0),
        "Ports": [],
        **{name: size for name, size in sized.items() if size},
        "Labels": record.config.labels or {},
        "State": status_of(state),
        "Status": status_words(state, now_s),
        "HostConfig": {
            "NetworkMode": record.host_config.network_mode,
            **({"Annotations": annotations} if annotations else {}),
        },
        "NetworkSettings": {"Networks": endpoints(record)},
        "Mounts": [mount_view(mount) for mount in shown_mounts(record)],
    }


def command_text(record: Record) -> str:
    """Return path and arguments in one line, arguments with blanks between quotes."""
    return " ".join((record.path, *(f"'{argument}'" if " " in argument else argument for argument in record.args)))


def shown_mounts(record: Record) -> Iterable[MountPoint]:
    """Return the mounts that lists and inspect show: a tmpfs only if it was asked for by a mount (engine, Mounts)."""
    return sorted((mount for mount in record.mounts if mount.asked != "tmpfs"), key=lambda mount: mount.destination)


def mount_view(mount: MountPoint) -> dict[str, Any]:
    """Return a mount as `Mounts` has it; name and driver are there for volumes only."""
    return {
        "Type": mount.type,
        **({"Name": mount.name} if mount.name else {}),
        "Source": mount.source,
        "Destination": mount.destination,
        **({"Driver": mount.driver} if mount.driver else {}),
        "Mode": mount.mode,
        "RW": mount.rw,
        "Propagation": mount.propagation,
    }


def _time_of(entry: Entry) -> str:
    # Fractions lack their last zeros, as Go writes them, so the `Z` must not be compared with a digit.
    return entry.record.created.rstrip("Z")


def _between(home: Home, entries: list[Entry], filters: Values) -> list[Entry]:
    """Keep what was made before and since the containers that the filters name."""
    for key, fits in _ORDERED:
        for text in filters.get(key, ()):
            named = home.find(text).id
            at = next((at for at, entry in enumerate(entries) if entry.record.id == named), len(entries))
            entries = fits(entries, at)
    return entries


_ORDERED: tuple[tuple[str, Callable[[list[Entry], int], list[Entry]]], ...] = (
    ("before", lambda entries, at: entries[at + 1 :]),
    ("since", lambda entries, at: entries[:at]),
)

"""`client.volumes`: volumes of a store, with docker-py's names. Does I/O. Loaded on first use.

Mirrors: docker/docker-py docker/models/volumes.py (VolumeCollection, Volume).
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from firkin.api import keywords
from firkin.api.client_arguments import prunable, read_filters
from firkin.api.hints import found_or_missing
from firkin.containers.volumes.shelf import Volumes
from firkin.errors import UsageError

if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine

Filters = Mapping[str, str | bool | Iterable[str]]


class Volume:
    """A volume. Two are equal if their names are. `attrs` is what `docker volume inspect` prints."""

    def __init__(self, volumes: VolumeCollection, attrs: dict[str, Any]) -> None:
        self._volumes = volumes
        self.attrs = attrs

    def __repr__(self) -> str:
        return f"<Volume: {self.short_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> str:
        """The name."""
        return str(self.attrs["Name"])

    @property
    def short_id(self) -> str:
        """The name, of a volume without one its first 12 digits."""
        return self.id[:12] if len(self.id) == 64 else self.id

    @property
    def name(self) -> str:
        """The name."""
        return self.id

    def reload(self) -> None:
        """Read `attrs` again. Raises NotFound."""
        self.attrs = self._volumes.get(self.id).attrs

    def remove(self, *, force: bool = False) -> None:
        """Remove it. Raises ContainerError if a container mounts it; NotFound without `force`."""
        self._volumes.remove(self.id, force=force)


class VolumeCollection:
    """The volumes of one store."""

    def __init__(self, engine: Engine) -> None:
        self._shelf = Volumes(engine)
        self._engine = engine

    @found_or_missing
    def create(
        self,
        name: str | None = None,
        *,
        driver: str | None = None,
        driver_opts: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or return the one of that name as it is. Raises ContainerError for a wrong name or option."""
        if driver not in (None, "local"):
            raise UsageError(f"`driver` is {driver!r}: there is only local", code="argument-value")
        volume, _ = self._shelf.ensure(
            keywords.given(keywords.text, "name", name, ""),
            dict(keywords.given(keywords.pairs, "labels", labels, ())),
            dict(keywords.given(keywords.pairs, "driver_opts", driver_opts, ())),
        )
        return self.get(volume.name)

    @found_or_missing
    def get(self, volume_id: str) -> Volume:
        """Return the volume of a name. Raises NotFound."""
        from firkin.containers.volume_list import describe

        return Volume(self, describe(self._shelf, self._shelf.find(keywords.text("volume_id", volume_id))))

    @found_or_missing
    def list(self, *, filters: Filters | None = None) -> builtins.list[Volume]:
        """Return the volumes; `filters` are `dangling`, `driver`, `label` and `name`. Raises ContainerError."""
        from firkin.containers.volume_list import describe, list_volumes

        listed = list_volumes(self._engine, read_filters(filters, None))
        return [Volume(self, describe(self._shelf, volume)) for volume in listed]

    @found_or_missing
    def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Remove volumes without a name that no container mounts; with `all=true` in `filters` the others as well.

        Returns `{"VolumesDeleted": […], "SpaceReclaimed": bytes}`. Other filters are `label` and `label!`. Raises
        ContainerError.
        """
        from firkin.containers.prune import prune_volumes

        asked = dict(filters or {})
        every = str(asked.pop("all", False)).lower() in ("1", "true")
        fits = prunable(asked)
        pruned = prune_volumes(
            self._engine, named=every, fits=lambda volume: fits(volume.labels or {}, volume.created)
        )
        return {"VolumesDeleted": [*pruned.names], "SpaceReclaimed": pruned.freed_bytes}

    @found_or_missing
    def remove(self, volume_id: str, *, force: bool = False) -> None:
        """Remove a volume; as `Volume.remove`."""
        self._shelf.remove(keywords.text("volume_id", volume_id), force=force)

"""Makes a volume that somebody asks for by itself. Does I/O. Mirrors: moby volume/service Create."""

from __future__ import annotations

from collections.abc import Mapping

from firkin.containers.home.engine import Engine
from firkin.containers.volumes.shelf import Volume, Volumes
from firkin.errors import ContainerError

LOCAL = "local"


def make_volume(
    engine: Engine, name: str = "", driver: str = "", labels: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Volume:  # fmt: skip
    """Return the volume of a name, made if it is missing; without a name a new one with a long name.

    One that is there stays as it is, whatever the labels and options. Raises ContainerError: `invalid` for a driver
    that is not `local`, a wrong name or a wrong option.
    """
    check_driver(driver)
    engine.ensure_store()
    volume, _ = Volumes(engine).ensure(name, labels, options)
    return volume


def check_driver(name: str) -> None:
    """Raise ContainerError (`invalid`) for a driver other than `local`: there are no plugins."""
    if name not in ("", LOCAL):
        raise ContainerError(
            f'error looking up volume plugin {name}: plugin "{name}" not found', kind="invalid", code="volume-driver"
        )

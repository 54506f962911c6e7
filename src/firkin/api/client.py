"""`firkin.connect(...)`: a client whose parts are spelled as docker-py's are. Does I/O. Loaded on first use.

A client holds settings only: which store, which registries. Each call opens what it needs, works in the caller's
thread and process, and keeps nothing. So threads may share a client, and one that is never closed costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from firkin.api.builds import read_surroundings
from firkin.api.client_containers import ContainerCollection
from firkin.api.client_images import ImageCollection
from firkin.api.client_volumes import VolumeCollection
from firkin.api.hints import in_own_words
from firkin.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine
    from firkin.settings import Settings


class Client:
    """A store, and the registries that are used with it. Also a context manager. See `connect`."""

    def __init__(self, settings: Settings, runtime: str = "") -> None:
        self._settings = settings
        self._root = settings.root
        self._registry = settings.registry
        self._runtime = runtime

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._root}>"

    @property
    def root(self) -> str:
        """The place of the store."""
        return self._root

    @property
    def images(self) -> ImageCollection:
        """The images of the store."""
        return ImageCollection(self._root, self._registry)

    @property
    def containers(self) -> ContainerCollection:
        """The containers of the store."""
        return ContainerCollection(self._engine(), self.images)

    @property
    def volumes(self) -> VolumeCollection:
        """The volumes of the store."""
        return VolumeCollection(self._engine())

    def _engine(self) -> Engine:
        from firkin.containers.opening import open_engine

        settings = self._settings
        return open_engine(
            settings.root, runtime=self._runtime, defaults=settings.containers, limits=settings.unpack
        )

    def close(self) -> None:
        """Do nothing: nothing is kept open. For programs written for docker-py."""

    def ping(self) -> bool:
        """Return True, if the store can be used. Raises StoreError."""
        return self.images.ping()

    def version(self) -> dict[str, Any]:
        """Return the version of firkin, and the platform that it builds for by default."""
        from firkin import __version__
        from firkin.linux.machine import this_platform

        platform = this_platform()
        return {"Version": __version__, "Os": platform.os, "Arch": platform.architecture}


@in_own_words
def connect(
    root: str | os.PathLike[str] | None = None,
    *,
    registry: RegistrySettings | None = None,
    config: str | os.PathLike[str] | None = None,
) -> Client:
    """Return a client for the store at `root`, by default that of config.toml and the environment.

    `registry` replaces the settings of registries, `config` is a config.toml that is read after the usual ones. Both
    are read now, and the store is made by the first call that needs it. Raises UsageError.
    """
    ambient, settings = read_surroundings(root, registry, config)
    return Client(settings, ambient.environ.get("XDG_RUNTIME_DIR", ""))

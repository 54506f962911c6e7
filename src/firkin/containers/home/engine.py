"""What every operation on containers works with: the store's containers, its images, this machine. Does I/O.

    engine = open_engine(root, runtime=xdg_runtime_dir)        containers/opening.py
    created = create(engine, request, image_for(engine, "alpine"))

It opens nothing until it is asked: starting a container needs neither the database nor a trial of the machine.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from firkin.containers.home.finder import Finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firkin.backend import Backend
    from firkin.containers.documents.merge import Defaults
    from firkin.containers.documents.record import Record, State
    from firkin.containers.home.home import Home
    from firkin.containers.limits.facts import CgroupFacts
    from firkin.layer.limits import UnpackLimits
    from firkin.store.store import Store


_lock = allocate_lock()


class Engine:
    """The containers of the store at `root`. Thread-safe. `open_engine` makes one that mends what deaths left.

    `runtime` is the user's directory for runtime files ("" for none). `defaults` are for what requests do not say
    (None: docker's), `limits` those of unpacking an image's layers (None: firkin's). `mend` and `sweep` are what
    Home calls.
    """

    def __init__(
        self, root: str, *, runtime: str = "", defaults: Defaults | None = None, limits: UnpackLimits | None = None,
        mend: Callable[[Engine, str], State | None] | None = None, sweep: Callable[[Engine], None] | None = None,
    ) -> None:  # fmt: skip
        self.finder = Finder(root, runtime)
        """Finds containers without reading them."""
        self.root = self.finder.root
        self.defaults = defaults
        self.limits = limits
        self._backend: Backend | None = None
        self._home: Home | None = None
        self._runtime, self._mend, self._sweep = runtime, mend, sweep

    @property
    def home(self) -> Home:
        """The containers. What reads their records is loaded here, and not for a command that needs none."""
        with _lock:  # one for all threads, as it knows who holds which lock
            if self._home is None:
                from firkin.containers.home.home import Home

                mend, sweep = self._mend, self._sweep
                self._home = Home(
                    self.root, self._runtime, None if mend is None else lambda id: mend(self, id),
                    None if sweep is None else lambda: sweep(self),
                )  # fmt: skip
            return self._home

    def store(self) -> Store:
        """Return the store of images, to be entered."""
        from firkin.store.store import Store

        return Store(self.root, time.time)

    def ensure_store(self) -> None:
        """Make the store if it is missing, and check it if it was not used since the machine started.

        Raises StoreError.
        """
        from firkin.containers.home.ready import ensure_store

        ensure_store(self.root)

    def backend(self) -> Backend:
        """Return how roots are mounted here, and in which namespaces; raises HostError when no way works."""
        if self._backend is None:
            from firkin.containers.home.ready import known_backend

            self._backend = known_backend(self.home)
        return self._backend

    def cgroups(self) -> CgroupFacts:
        """Return which control groups containers may have here."""
        from firkin.containers.limits.facts import read_cgroups

        return read_cgroups(uid=os.geteuid(), runtime_dir=self.home.user_runtime)

    def container_event(self, action: str, record: Record, attributes: Mapping[str, str] | None = None) -> None:
        """Write an event of a container: its labels, image and name are among the attributes."""
        from firkin.store.journal import append

        known = {"image": record.config.image, "name": record.name, **(attributes or {})}
        append(self.root, "container", action, record.id, known, labels=record.config.labels)

    def volume_event(self, action: str, name: str, attributes: Mapping[str, str] | None = None) -> None:
        """Write an event of a volume."""
        from firkin.store.journal import append

        append(self.root, "volume", action, name, {"driver": "local", **(attributes or {})})

    def prune_event(self, kind: str, freed_bytes: int) -> None:
        """Write the event of a prune of containers or volumes."""
        from firkin.store.journal import append

        append(self.root, kind, "prune", "", {"reclaimed": str(freed_bytes)})

"""One open store: everything under its root. Does I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from firkin.oci.descriptor import Descriptor
from firkin.store.blobs import Blobs
from firkin.store.boot import check_after_boot, read_boot_id
from firkin.store.images import Images
from firkin.store.layout import StoreLayout
from firkin.store.records import Records
from firkin.store.trees import StagedTree, Trees


class Store:
    """The store at `root`; made if missing. Use as a context manager.

    `clock` returns seconds since the epoch; `warn` gets the code and text of a warning about lost records. Raises
    StoreError when the store cannot be used.
    """

    def __init__(
        self, root: str, clock: Callable[[], float], warn: Callable[[str, str], None] | None = None
    ) -> None:
        self._warn = warn
        self.layout = StoreLayout(root)
        self.blobs = Blobs(self.layout)
        self.trees = Trees(self.layout)
        self.images = Images(self.layout)
        self._clock = clock
        self._records: Records | None = None
        self._opening = threading.Lock()

    @property
    def records(self) -> Records:
        """The database, opened on first use."""
        known = self._records
        if known is not None:
            return known
        with self._opening:  # bases are resolved in parallel, and a second connection would find the database locked
            if self._records is None:
                self._records = Records(self.layout.database, self._clock)
                if self._records.lost and self._warn is not None:
                    self._warn("store-renewed", f"the cache of the store is empty now: {self._records.lost}")
            return self._records

    def keeps(self, descriptor: Descriptor) -> bool:
        """Say whether a blob is here and complete; if so, note its use, so that `prune` spares it from now on."""
        if self.blobs.size(descriptor.digest) != descriptor.size:
            return False
        self.records.use_blob(descriptor.digest, descriptor.size)
        return self.blobs.size(descriptor.digest) == descriptor.size  # a prune may have removed it before that

    def stage_tree(self) -> StagedTree:
        """Begin a new tree; raises StoreError. See StagedTree."""
        return StagedTree(self.layout, lambda tree_id: self.records.add_tree(tree_id))

    def __enter__(self) -> Store:
        self.layout.__enter__()
        check_after_boot(self.layout, read_boot_id())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._records is not None:
            self._records.close()
        self.layout.__exit__(kind, error, trace)

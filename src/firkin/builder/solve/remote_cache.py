"""The caches of `--cache-from` and `--cache-to` in one build: look-ups ahead, uploads behind. Does I/O.

`ask` starts the look-ups of a whole graph at once, so that `find` mostly has its answer already. An upload
starts when a layer's blob is written and runs beside the build; `finish` waits for all. A cache that cannot
be read is skipped with a warning. A cache that cannot be written fails the build after its outputs are
written (as in BuildKit), unless its errors are to be ignored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

import msgspec

from firkin.builder.cache import ReadableCache, WritableCache
from firkin.builder.cache.entry import MOUNT_PREFIX, CacheEntry, belongs
from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.graph.key import CacheKey, Part, key_of, with_reads
from firkin.builder.graph.ops import Copy, Op
from firkin.builder.request import CacheRef
from firkin.content.cached import CachedLayer
from firkin.content.format import LayerFormat
from firkin.content.layers import Layers
from firkin.content.snapshot import LayerRef
from firkin.errors import Cancelled, FirkinError
from firkin.events import Emit, Finished, Planned, Started, Vertex, Warned
from firkin.oci.digest import Digest
from firkin.oci.image import Layer
from firkin.oci.media import layer_compression
from firkin.oci.reference import parse_reference
from firkin.store.records import LayerBlob
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pool, Task


class CacheSource(msgspec.Struct, frozen=True):
    """A cache to look in: `places` in the order in which they are asked."""

    ref: CacheRef
    places: tuple[ReadableCache, ...]


class CacheTarget(msgspec.Struct, frozen=True):
    """A cache to add to."""

    ref: CacheRef
    place: WritableCache


class RemoteCache:
    """The caches of one build. Thread-safe."""

    def __init__(
        self,
        sources: tuple[CacheSource, ...],
        targets: tuple[CacheTarget, ...],
        store: Store,
        layers: Layers,
        transfers: Pool,
        emit: Emit,
        cancel: Cancel,
        clock: Callable[[], float],
        refused: frozenset[str],
    ) -> None:
        self._refused = refused
        self._sources = sources
        self._targets = targets
        self._store = store
        self._step_records = StepRecords(store)
        self._layers = layers
        self._transfers = transfers
        self._emit = emit
        self._cancel = cancel
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[str, Task[tuple[CacheEntry, ReadableCache] | None]] = {}
        self._seen: dict[tuple[str, str], CacheEntry | None] = {}  # answers, by place and name
        self._down: set[str] = set()  # places that cannot be read
        self._broken: set[str] = set()  # places that cannot be written
        self._uploads: dict[tuple[str, str], _Upload] = {}
        self._blob_locks: dict[Digest, threading.Lock] = {}
        self._mounts: dict[str, tuple[str, Callable[[CacheRef], Layer | None]]] = {}

    # Look-ups

    def reads(self, op: Op) -> bool:
        """Say whether any cache is asked for steps of this kind."""
        return any(_covers(source.ref, op) for source in self._sources)

    def asked(self, key: str) -> bool:
        """Say whether the caches were asked for a key."""
        return key in self._asked

    def ask(self, op: Op, key: str) -> None:
        """Start looking for a step's layer."""
        sources = tuple(source for source in self._sources if _covers(source.ref, op))
        with self._lock:
            if key not in self._asked:
                self._asked[key] = self._transfers.submit(lambda: self._look(sources, key))

    def find(
        self,
        op: Op,
        key: CacheKey,
        parts: tuple[Part, ...],
        slot: str,
        form: LayerFormat,
        make: Callable[[str], None],
    ) -> StepRecord | None:
        """Return the record of a step that a cache has; this build can then use its layer.

        `form` is the form in which the layer will be shipped. If the cache does not deliver the layer, `make` executes
        the step; its argument is the id for the layer.
        """
        self.ask(op, key)
        found = self._asked[key].result()
        if found is None:
            return None
        entry, place = found
        if entry.layer in self._refused or not form.can_be_made_of(entry.variant):
            return None
        if not belongs(entry, parts):
            self._refuse(place, key, "its layer is that of another step")
            return None
        cached = CachedLayer(entry.blob, entry.variant, place.origin)
        self._layers.cached.offer(entry.layer, cached, partial(make, entry.layer))
        record = StepRecord(key, entry.layer, slot, entry.title, parts, entry.created, entry.seconds)
        self._store.records.add_layer_blob(
            entry.layer, entry.variant, LayerBlob(entry.blob.diff_id, entry.blob.descriptor)
        )
        self._step_records.remember(record, replace=True)
        if entry.layer[:32] != key[:32]:  # also under its first key: `entry_of` needs its `reads`
            first = with_reads(parts, entry.reads)
            self._step_records.remember(msgspec.structs.replace(record, key=key_of(first), parts=first))
        return record

    def _look(self, sources: tuple[CacheSource, ...], name: str) -> tuple[CacheEntry, ReadableCache] | None:
        now = self._clock()
        for source in sources:
            for place in source.places:
                entry = self._peek(place, name)
                if entry is not None and not (source.ref.ttl_s and entry.saved + source.ref.ttl_s < now):
                    return entry, place
        return None

    def _peek(self, place: ReadableCache, name: str) -> CacheEntry | None:
        """Ask one place. A place that cannot be read is not asked again."""
        seen = (place.shown, name)
        if seen in self._seen:
            return self._seen[seen]
        if place.shown in self._down:
            return None
        entry = None
        try:
            entry = place.find(name)
        except ValueError as error:
            self._refuse(place, name, str(error))
        except Cancelled:
            raise
        except FirkinError as error:
            with self._lock:
                first = place.shown not in self._down
                self._down.add(place.shown)
            if first:
                text = f"the cache {place.shown} cannot be read, so nothing is taken from it: {error.message}"
                self._warn("cache-unreadable", text)
            return None
        self._seen[seen] = entry
        return entry

    def _refuse(self, place: ReadableCache, name: str, why: str) -> None:
        self._warn("cache-refused", f"entry {name} of the cache {place.shown} is refused: {why}")

    def _warn(self, code: str, text: str) -> None:
        self._emit(Warned(self._clock(), code, text))

    # Uploads

    def form(self, first: LayerFormat, ref: CacheRef) -> LayerFormat:
        """Return the form of a cache's blobs: that of the image where the compressions agree."""
        if ref.compression == first.compression:
            return first
        return msgspec.structs.replace(first, compression=ref.compression, level=None)

    def add(
        self, op: Op, record: StepRecord, layer: LayerRef, first: LayerFormat, *, exported: bool, fresh: bool
    ) -> None:
        """Start adding a step's layer to the caches; `fresh`: replace the entries that they have."""
        for target in self._targets:
            if _covers(target.ref, op) and (exported or target.ref.mode == "max"):
                self._upload(target, record, layer, self.form(first, target.ref).of(layer), fresh)

    def _upload(self, target: CacheTarget, record: StepRecord, layer: LayerRef, form: LayerFormat, fresh: bool) -> None:
        key = (target.place.shown, record.key)
        with self._lock:
            if key in self._uploads:
                return
            upload = self._uploads[key] = _Upload(target)
        blob = self._layers.blobs.start(layer, form)
        blob.when_done(
            lambda: upload.start(self._transfers, lambda: self._add(target, record, form, blob.result(), fresh))
        )

    def _add(self, target: CacheTarget, record: StepRecord, form: LayerFormat, blob: Layer, fresh: bool) -> None:
        place, now = target.place, self._clock()
        if place.shown in self._broken:
            return  # the first failure is reported
        if not fresh:
            known = self._peek(place, record.key)
            ttl_s = target.ref.ttl_s
            if known is not None and known.layer not in self._refused and not (ttl_s and known.saved + ttl_s < now):
                return
        entry = entry_of(record, blob, form, self._step_records, now)
        if entry is None:
            return
        self._cancel.check()
        digest = blob.descriptor.digest
        try:
            # Registries handle two uploads of one blob at a time badly: docker-registry then loses it for a moment.
            with self._blob_lock(digest):
                place.add(record.key, entry, lambda: self._open(blob), self._layers.cached.origin(digest))
        except FirkinError:
            self._broken.add(place.shown)  # one failure is enough
            raise
        self._layers.cached.add_origin(digest, place.origin)

    def _blob_lock(self, digest: Digest) -> threading.Lock:
        with self._lock:
            return self._blob_locks.setdefault(digest, threading.Lock())

    def _open(self, blob: Layer) -> BinaryIO:
        self._layers.sources.ensure_blob(blob, "")
        return self._store.blobs.open(blob.descriptor.digest)

    def use_mount(self, name: str, title: str, pack: Callable[[CacheRef], Layer | None]) -> None:
        """Note that a cache mount was used: `finish` saves it as a blob, which `pack` makes."""
        self._mounts[name] = (title, pack)

    def _save_mounts(self, target: CacheTarget) -> None:
        for name, (title, pack) in self._mounts.items():
            upload = self._uploads[target.place.shown, MOUNT_PREFIX + name] = _Upload(target)
            call = partial(self._add_mount, target, name, title, pack)
            upload.start(self._transfers, call)

    def _add_mount(self, target: CacheTarget, name: str, title: str, pack: Callable[[CacheRef], Layer | None]) -> None:
        now = self._clock()
        blob = pack(target.ref)
        if blob is None:
            return
        known = self._peek(target.place, MOUNT_PREFIX + name)
        if known is not None and known.blob.descriptor.digest == blob.descriptor.digest:
            return
        variant = LayerFormat(target.ref.compression).variant
        entry = CacheEntry(name, name, blob, variant, now, now, 0.0, title)
        target.place.add(MOUNT_PREFIX + name, entry, lambda: self._open(blob), "")

    def find_mount(self, name: str) -> tuple[CacheEntry, str] | None:
        """Return the entry of a cache mount, and where its blob comes from."""
        sources = tuple(source for source in self._sources if source.ref.mounts)
        found = self._look(sources, MOUNT_PREFIX + name)
        return None if found is None else (found[0], found[1].origin)

    # The end

    @property
    def registries(self) -> frozenset[str]:
        """The registries that a cache is written to."""
        return frozenset(_registry(target) for target in self._targets) - {""}

    def settle(self, registries: set[str]) -> None:
        """Wait for uploads to these registries, so that an image pushed there can mount their layers."""
        for upload in tuple(self._uploads.values()):
            if _registry(upload.target) in registries:
                upload.wait()

    def close(self) -> None:
        """Keep what was added so far, even if the build has failed."""
        for target in self._targets:
            try:
                target.place.close()
            except FirkinError as error:
                self._warn("cache-unwritable", f"the cache {target.place.shown} was not written: {error.message}")

    def finish(self) -> None:
        """Wait for all uploads and make them visible; raises what the first failed with."""
        failed: FirkinError | None = None
        for target in self._targets:
            error = self._finish(target)
            if error is not None and target.ref.ignore_error:
                self._warn("cache-unwritable", f"the cache {target.place.shown} was not written: {error.message}")
            elif failed is None:
                failed = error
        if failed is not None:
            raise failed

    def _finish(self, target: CacheTarget) -> FirkinError | None:
        shown = target.place.shown
        vertex = Vertex(f"cache {shown}", f"exporting cache to {shown}")
        self._emit(Planned(self._clock(), (vertex,)))
        self._emit(Started(self._clock(), vertex.id))
        if target.ref.mounts:
            self._save_mounts(target)
        failed: FirkinError | None = None
        for upload in tuple(self._uploads.values()):
            if upload.target is target:
                failed = failed or upload.wait()
        try:
            target.place.close()
        except FirkinError as error:
            failed = failed or error
        if isinstance(failed, Cancelled):
            raise failed
        self._emit(Finished(self._clock(), vertex.id, "failed" if failed else "done", str(failed or "")))
        return failed


class _Upload:
    """The upload of one entry: it waits for the entry's blob, then runs a transfer."""

    def __init__(self, target: CacheTarget) -> None:
        self.target = target
        self._started = threading.Event()
        self._task: Task[None] | None = None

    def start(self, pool: Pool, call: Callable[[], None]) -> None:
        """Queue the transfer; never raises."""
        try:
            self._task = pool.submit(call)
        except RuntimeError:
            pass  # the build has ended meanwhile
        finally:
            self._started.set()

    def wait(self) -> FirkinError | None:
        """Wait for the transfer; return what it failed with."""
        self._started.wait()
        if self._task is None:
            return Cancelled("the build has ended")
        try:
            self._task.result()
        except FirkinError as error:
            return error
        return None


def _registry(target: CacheTarget) -> str:
    """Return the registry of a cache, "" for one in a directory."""
    scheme, _, rest = target.place.origin.partition("://")
    return parse_reference(rest.rpartition("@")[0]).registry if scheme == "docker-image" else ""


def _covers(ref: CacheRef, op: Op) -> bool:
    """Say whether a cache is used for steps of this kind (Kaniko's --cache-copy-layers, --cache-run-layers)."""
    return ref.copy_layers if isinstance(op, Copy) else ref.run_layers


def entry_of(record: StepRecord, blob: Layer, form: LayerFormat, records: StepRecords, now: float) -> CacheEntry | None:
    """Return the entry for a record whose layer is shipped as `blob`, whose form may differ from `form`.

    None if the key that the layer was first made under is not known any more.
    """
    compression = layer_compression(blob.descriptor.media_type)
    variant = form.variant if form.compression == compression else LayerFormat(compression).variant
    own = record.layer[:32] == record.key[:32]
    reads = () if own else records.reads(record.layer)
    if not own and not reads:
        return None
    return CacheEntry(
        record.key, record.layer, blob, variant, record.created, now, record.seconds, record.title, reads
    )

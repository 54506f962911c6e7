"""Layers as trees and as blobs: fetches, unpacks and writes whichever is missing. Does I/O.

A pulled layer starts as a blob in a registry, a built one as a tree; each form is made once, by one
task, and kept in the store. Trees of a base are unpacked side by side; what depends on the layers
below (attributes of directories that a layer's tar only implies) is mended when those are there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from firkin.content.fetching import Fetching
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.errors import Cancelled, FirkinError, RegistryError, StepFailed, StoreError
from firkin.events import Emit, Finished, Planned, Progress, Started, Vertex, Warned
from firkin.layer.attributes import set_xattr
from firkin.layer.blob import index_blob, recompress_blob
from firkin.layer.change import Change, View
from firkin.layer.confined import unpack_confined
from firkin.layer.index import IndexWriter, LayerIndex, open_index
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.scan import OwnerOf, iter_upper_changes
from firkin.layer.stream import LayerDigests, write_layer
from firkin.layer.tar import limit_hints
from firkin.layer.unpack import Unpacked
from firkin.layer.view import DiffTree, LayerReader, MergedView, StackView
from firkin.linux.folders import Folders
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest, finish, new_hasher
from firkin.oci.image import Layer
from firkin.store.records import LayerBlob
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools, Task, finished

ROOT_CHANGED = "root-changed"
"""A mark beside a tree: the step changed the attributes of `/` itself, so they are part of the layer."""


class BlobFetcher(Protocol):
    """Where blobs that are not in the store come from."""

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield the blob's bytes, not yet verified; raises FirkinError."""


class LayerFormat(msgspec.Struct, frozen=True):
    """What the bytes of a layer's blob depend on, besides its tree."""

    compression: media.Compression = "gzip"
    level: int | None = None
    clamp_s: int | None = None  # latest mtime, seconds since the epoch
    clamp_all: bool = True  # or else only what a RUN wrote
    force: bool = False  # recompress pulled layers that are compressed otherwise
    ignore: tuple[str, ...] = ()  # paths left out

    @property
    def variant(self) -> str:
        """The name of this form in the store's records."""
        level = "" if self.level is None else str(self.level)
        clamp = "" if self.clamp_s is None else str(self.clamp_s)
        return ":".join((self.compression, level, clamp, *self.ignore))

    def of(self, ref: LayerRef) -> LayerFormat:
        """Return the form of one layer: those of a base keep their times, whatever is wanted of the others."""
        return self.when(from_run=ref.from_run) if ref.pulled is None else self.unclamped()

    def when(self, *, from_run: bool) -> LayerFormat:
        """Return the form of a new layer."""
        return self if self.clamp_all or from_run else self.unclamped()

    def unclamped(self) -> LayerFormat:
        """Return the form that keeps all times."""
        return self if self.clamp_s is None else msgspec.structs.replace(self, clamp_s=None)

    def accepts(self, variant: str) -> bool:
        """Say whether a layer that was written in another form will do: one of another level does."""
        theirs, ours = variant.split(":"), self.variant.split(":")
        return theirs == ours or (not self.force and (theirs[0], theirs[2:]) == (ours[0], ours[2:]))

    def can_be_made_of(self, variant: str) -> bool:
        """Say whether nothing is lost in another form that this one needs: paths, or times."""
        theirs, ours = variant.split(":"), self.variant.split(":")
        return theirs[3:] == ours[3:] and theirs[2] in ("", ours[2])


class CachedLayer(msgspec.Struct, frozen=True):
    """A built layer's blob in a cache elsewhere: `variant` says in which form, `origin` where."""

    layer: Layer
    variant: str
    origin: str


class LostLayer(FirkinError):
    """A layer that a cache promised cannot be had now that it is to be shipped; without it the build can be done."""

    def __init__(self, layer: str, error: FirkinError) -> None:
        super().__init__(error.message, code=error.code, exit_code=error.exit_code, hints=error.hints)
        self.layer = layer


class LayerWork:
    """Makes trees and blobs of layers for one build.

    `makers` make layers anew that a cache offers and does not deliver.
    """

    def __init__(
        self,
        store: Store,
        pools: Pools,
        fetcher: BlobFetcher,
        emit: Emit,
        cancel: Cancel,
        clock: Callable[[], float],
        owner_free: bool = False,
        limits: UnpackLimits = UNPACK_LIMITS,
    ) -> None:
        self._store = store
        self._pools = pools
        self._fetcher = fetcher
        self._emit = emit
        self._cancel = cancel
        self._clock = clock
        self.owner_free = owner_free
        self.limits = limits
        self._lock = threading.Lock()
        self._unpacking: dict[str, Task[tuple[str, Unpacked]]] = {}
        self._blobs: dict[tuple[str, str], Task[Layer]] = {}
        self._sealing = threading.Lock()
        self.on_written: Callable[[LayerFormat, Layer], None] | None = None  # hears of new blobs of shipped layers
        self.blobs_wanted = False  # an output takes every layer: one that is only indexed is kept, not fetched twice
        self._cached: dict[str, CachedLayer] = {}
        self._promised: dict[Digest, str] = {}  # what caches said of layers, also when another step found it untrue
        self._remaking = threading.RLock()
        self._remade: set[str] = set()
        self.makers: dict[str, Callable[[], None]] = {}
        self.fetching = Fetching(emit, clock)
        self.origins: dict[Digest, str] = {}  # where blobs of built layers can be had besides the store

    # Caches elsewhere

    def offer_cached(self, tree_id: str, cached: CachedLayer) -> None:
        """Note that a layer's blob can be had from a cache."""
        with self._lock:
            self._cached[tree_id] = cached
            self._promised[cached.layer.descriptor.digest] = tree_id
            self.origins[cached.layer.descriptor.digest] = cached.origin

    def _replace_lost(self, tree_id: str, error: FirkinError) -> bool:
        """Make a layer that its cache does not deliver; say whether that was possible."""
        with self._remaking:
            if tree_id in self._remade:
                return True  # another step was here first
            with self._lock:
                cached = self._cached.pop(tree_id, None)
                maker = self.makers.get(tree_id)
                if cached is None or maker is None or self._cancel():
                    return False
                self._remade.add(tree_id)
                self.origins.pop(cached.layer.descriptor.digest, None)
                self._unpacking.pop(tree_id, None)
                for known in [key for key in self._blobs if key[0] == tree_id]:
                    del self._blobs[known]
            self._emit(
                Warned(self._clock(), "cache-refused", f"a cached layer is of no use and is made anew: {error.message}")
            )
            maker()
            return True

    # Trees

    def available(self, tree_id: str) -> bool:
        """Say whether a built layer is here in any form, or in a cache that this build found."""
        if tree_id in self._cached or self._store.trees.has(tree_id):
            return True
        blobs = self._store.records.layer_blobs(tree_id)
        return any(self._store.blobs.size(blob.descriptor.digest) is not None for blob in blobs)

    def ensure_trees(self, snapshot: Snapshot, vertex: str) -> tuple[str, ...]:
        """Return the diff directories of a snapshot, bottom first; makes what is missing.

        Downloads and unpacks all missing layers side by side; `vertex` gets the progress of what is no base image's.
        """
        with self.fetching.shown(self._missing(snapshot)):
            return self._ensure_trees(snapshot, vertex)

    def has_base(self, snapshot: Snapshot) -> bool:
        """Tell whether the layers of a base image are here, in either form."""
        return not self._missing(snapshot)

    def _missing(self, snapshot: Snapshot) -> list[Digest]:
        """Return the blobs of base images that have to be fetched before the snapshot can be unpacked."""
        return [
            layer.pulled.descriptor.digest
            for layer in snapshot.layers
            if layer.pulled is not None
            and not self._store.trees.has(layer.tree_id)
            and not self._store.keeps(layer.pulled.descriptor)
        ]

    def _ensure_trees(self, snapshot: Snapshot, vertex: str) -> tuple[str, ...]:
        tasks: dict[str, Task[tuple[str, Unpacked]]] = {}
        self._use_trees(snapshot)
        with self._lock:
            for layer in snapshot.layers:
                if self._store.trees.has(layer.tree_id):
                    continue
                task = self._unpacking.get(layer.tree_id)
                if task is None:
                    task = self._pools.transfers.submit(lambda ref=layer: self._unpack(ref, vertex))  # type: ignore[misc]
                    self._unpacking[layer.tree_id] = task
                tasks[layer.tree_id] = task
        paths: list[str] = []
        for layer in snapshot.layers:
            if layer.tree_id in tasks:
                try:
                    staged, result = tasks[layer.tree_id].result()
                except FirkinError as error:
                    if not self._replace_lost(layer.tree_id, error):
                        raise
                    if self._store.trees.has(layer.tree_id):
                        paths.append(self._store.trees.path(layer.tree_id))
                        continue
                    staged, result = self._unpack(layer, vertex)
                with self._sealing:
                    if not self._store.trees.has(layer.tree_id):
                        implied = result.implied if result.root is not None else ("", *result.implied)
                        _take_from_below(f"{staged}/fs", implied, self.stack(tuple(paths)), self.owner_free)
                        self._store.trees.seal(staged, layer.tree_id)
                        self._store.records.add_tree(layer.tree_id)
            paths.append(self._store.trees.path(layer.tree_id))
        return tuple(paths)

    def _use_trees(self, snapshot: Snapshot) -> None:
        """Keep `prune` from the trees that are here, before anybody relies on them."""
        here = tuple(layer.tree_id for layer in snapshot.layers if self._store.trees.has(layer.tree_id))
        if here:
            self._store.records.use_trees(here)

    def _unpack(self, layer: LayerRef, vertex: str) -> tuple[str, Unpacked]:
        self._cancel.check()
        known, origin = self._source_of(layer)
        staged = self._store.trees.stage()
        try:
            result = self._unpack_into(staged, known, origin, vertex)
        except BaseException:
            self._store.trees.drop(staged)
            raise
        return staged, result

    def _unpack_into(self, staged: str, known: Layer, origin: str, vertex: str) -> Unpacked:
        descriptor = known.descriptor
        local = self._store.keeps(descriptor)
        writer = None if local else self._store.blobs.new()
        try:
            result, _ = unpack_confined(
                self._read(descriptor, origin, vertex, local),
                descriptor,
                known.diff_id,
                f"{staged}/fs",
                writer,
                chown=not self.owner_free,
                index=f"{staged}/index" if self.owner_free else "",
                limits=self.limits,
            )
            if writer is not None:
                writer.commit(descriptor.digest)
                self._store.records.add_blob(descriptor.digest, descriptor.size)
        except ValueError as error:
            raise _damaged(descriptor, origin, error) from error
        finally:
            if writer is not None:
                writer.abort()
        return result

    def _source_of(self, layer: LayerRef) -> tuple[Layer, str]:
        if layer.pulled is not None:
            return layer.pulled, layer.origin
        for blob in self._store.records.layer_blobs(layer.tree_id):
            if self._store.blobs.size(blob.descriptor.digest) is not None:
                return Layer(blob.diff_id, blob.descriptor), ""
        cached = self._cached.get(layer.tree_id)
        if cached is not None:
            return cached.layer, cached.origin
        raise StoreError(
            f"layer {layer.tree_id} is missing from the store",
            code="layer-missing",
            hints=("build again with `--no-cache`",),
        )

    def _read(self, descriptor: Descriptor, origin: str, vertex: str, local: bool) -> Iterator[bytes]:
        """Yield a blob's bytes from the store or its origin, telling how far it is."""
        if local:
            with self._store.blobs.open(descriptor.digest) as file:
                while chunk := file.read(1 << 20):
                    self._cancel.check()
                    yield chunk
            return
        what = f"sha256:{descriptor.digest.partition(':')[2][:12]}"
        vertex = self.fetching.vertex(descriptor.digest, vertex)
        done, told = 0, 0.0
        with self.fetching.shown((descriptor.digest,)):
            for chunk in self._fetcher.fetch(origin, descriptor):
                self._cancel.check()
                done += len(chunk)
                now = self._clock()
                if now - told > 0.2 or done == descriptor.size:
                    told = now
                    self._emit(Progress(now, vertex, what, done, descriptor.size))
                yield chunk

    # Views

    def stack(self, trees: tuple[str, ...]) -> StackView:
        """Return the merged view of trees, bottom first; their indexes know the owners where files have none."""
        if not self.owner_free:
            return StackView(trees)
        indexes = [f"{tree.removesuffix('/fs')}/index" for tree in trees]
        return StackView(trees, [open_index(path) if os.path.exists(path) else None for path in indexes])

    def tree_view(self, snapshot: Snapshot, vertex: str) -> StackView:
        """Return the merged view of a snapshot with all contents at hand; unpacks what is not."""
        return self.stack(self.ensure_trees(snapshot, vertex))

    def names_view(self, snapshot: Snapshot, vertex: str) -> View:
        """Return a view that knows every name of a snapshot, and the contents only where they are unpacked.

        A layer that is not gets an index, made once from its blob as it passes: neither the blob nor the
        files are kept.
        """
        readers: list[LayerReader] = []
        self._use_trees(snapshot)
        for layer in snapshot.layers:
            tree = self._store.trees.path(layer.tree_id)
            if self._store.trees.has(layer.tree_id):
                own = f"{tree.removesuffix('/fs')}/index"
                readers.append(DiffTree(tree, open_index(own) if self.owner_free and os.path.exists(own) else None))
            else:
                try:
                    readers.append(self._ensure_index(layer, vertex))
                except FirkinError as error:
                    if not self._replace_lost(layer.tree_id, error):
                        raise
                    return self.names_view(snapshot, vertex)
        return MergedView(readers)

    def _ensure_index(self, layer: LayerRef, vertex: str) -> LayerIndex:
        path = f"{self._store.layout.indexes}/{layer.tree_id}"
        try:
            os.utime(path)  # `prune` goes by it
            return open_index(path)
        except (FileNotFoundError, ValueError):
            pass  # there is none, or one of another version, or one that a power failure cut short
        known, origin = self._source_of(layer)
        descriptor = known.descriptor
        if self.blobs_wanted:
            self.ensure_blob(known, origin, vertex)
        local = self._store.keeps(descriptor)
        index = IndexWriter()
        try:
            chunks = self._read(descriptor, origin, vertex, local)
            index_blob(chunks, descriptor, known.diff_id, index, self.limits)
        except ValueError as error:
            raise _damaged(descriptor, origin, error) from error
        self.keep_index(layer.tree_id, index)
        return open_index(path)

    def keep_index(self, tree_id: str, index: IndexWriter) -> None:
        """Keep the index of a layer that is not unpacked."""
        staged = self._store.layout.scratch_path("index")
        with open(staged, "wb") as file:
            index.write(file)
        os.rename(staged, f"{self._store.layout.indexes}/{tree_id}")

    # Blobs

    def layer_of(self, ref: LayerRef, form: LayerFormat) -> Task[Layer]:
        """Start making the layer's blob in the given form (or find it); the result describes it.

        Pulled layers keep the form they came in, unless `form.force`; they are not fetched for this.
        """
        form = form.of(ref)
        with self._lock:
            task = self._blobs.get((ref.tree_id, form.variant))
            if task is None:
                found = self._known_blob(ref, form)
                task = finished(found) if found else self._pools.cpu.submit(lambda: self._write_blob(ref, form))
                self._blobs[ref.tree_id, form.variant] = task
            return task

    def _known_blob(self, ref: LayerRef, form: LayerFormat) -> Layer | None:
        if ref.pulled is not None:
            same = media.layer_compression(ref.pulled.descriptor.media_type) == form.compression
            if same or not form.force:
                return ref.pulled
        known = self._store.records.layer_blob(ref.tree_id, form.variant)
        if known is not None and self._store.blobs.size(known.descriptor.digest) == known.descriptor.size:
            return Layer(known.diff_id, known.descriptor)
        cached = self._cached.get(ref.tree_id)
        return cached.layer if cached is not None and form.accepts(cached.variant) else None

    def _write_blob(self, ref: LayerRef, form: LayerFormat) -> Layer:
        self._cancel.check()
        if ref.pulled is not None:
            return self._recompress(ref, form)
        tree = self.ensure_trees(Snapshot((ref,), ""), "")[0]
        home = tree.removesuffix("/fs")
        owner_of: OwnerOf | None = None
        if self.owner_free and os.path.exists(f"{home}/index"):
            owner_of = _owners(open_index(f"{home}/index"))
        changes = iter_upper_changes(tree, include_root=os.path.exists(f"{home}/{ROOT_CHANGED}"), owner_of=owner_of)
        return self.write_blob(ref.tree_id, changes, form)

    def _recompress(self, ref: LayerRef, form: LayerFormat) -> Layer:
        """Give a layer of a base, whose tar stays what it is, another compression."""
        known, origin = self._source_of(ref)
        descriptor = known.descriptor
        writer = self._store.blobs.new()
        try:
            chunks = self._read(descriptor, origin, "", self._store.keeps(descriptor))
            written = recompress_blob(
                chunks, descriptor, known.diff_id, writer, compression=form.compression, level=form.level
            )
            writer.commit(written.digest)
        except ValueError as error:
            raise _damaged(descriptor, origin, error) from error
        finally:
            writer.abort()
        return self._note_blob(ref.tree_id, form, written)

    def write_blob(
        self, tree_id: str, changes: Iterable[Change], form: LayerFormat, index: IndexWriter | None = None
    ) -> Layer:
        """Write changes as the layer's blob into the store and record it; `index` hears of them."""
        writer = self._store.blobs.new()
        try:
            written = write_layer(
                self._checked(changes, form.ignore),
                writer,
                compression=form.compression,
                level=form.level,
                clamp_mtime_s=form.clamp_s,
                observe=None if index is None else index.add,
            )
            writer.commit(written.digest)
        except ValueError as error:
            raise unfit(error) from error
        finally:
            writer.abort()
        return self._note_blob(tree_id, form, written)

    def _note_blob(self, tree_id: str, form: LayerFormat, written: LayerDigests) -> Layer:
        media_type = media.layer_media_type("oci", form.compression)
        blob = LayerBlob(DiffID(written.diff_id), Descriptor(media_type, written.digest, written.size))
        self._store.records.add_blob(written.digest, written.size)
        self._store.records.add_layer_blob(tree_id, form.variant, blob)
        layer = Layer(blob.diff_id, blob.descriptor)
        if self.on_written is not None:
            self.on_written(form, layer)
        return layer

    def _checked(self, changes: Iterable[Change], ignore: tuple[str, ...]) -> Iterator[Change]:
        for change in changes:
            self._cancel.check()
            if not ignore or not any(change.path == path or change.path.startswith(path + "/") for path in ignore):
                yield change

    def ensure_blob(self, layer: Layer, origin: str, vertex: str = "") -> None:
        """Have the bytes of a described layer in the store; fetches them if they are not.

        `vertex` is the step that waits for them; without one, it is a line of its own.
        """
        descriptor = layer.descriptor
        if self._store.keeps(descriptor):
            return
        origin = origin or self.origins.get(descriptor.digest, "")
        vertex = self.fetching.vertex(descriptor.digest, vertex)
        if vertex:
            self._fetch_blob(descriptor, origin, vertex)
            return
        own = f"fetch {descriptor.digest}"
        title = f"fetching {descriptor.digest[:19]}" + f" from {origin.partition('://')[2]}" * bool(origin)
        self._emit(Planned(self._clock(), (Vertex(own, title),)))
        self._emit(Started(self._clock(), own))
        try:
            self._fetch_blob(descriptor, origin, own)
        except BaseException as error:
            stopped = isinstance(error, Cancelled)
            self._emit(Finished(self._clock(), own, "cancelled" if stopped else "failed", str(error)))
            raise
        self._emit(Finished(self._clock(), own, "done"))

    def _fetch_blob(self, descriptor: Descriptor, origin: str, vertex: str) -> None:
        writer = self._store.blobs.new()
        hasher = new_hasher(descriptor.digest.partition(":")[0])
        try:
            for chunk in self._read(descriptor, origin, vertex, False):
                hasher.update(chunk)
                writer.write(chunk)
            if finish(hasher) != descriptor.digest or writer.size != descriptor.size:
                raise _damaged(descriptor, origin, ValueError(f"got {finish(hasher)}, {writer.size} bytes"))
            writer.commit(descriptor.digest)
        except RegistryError as error:
            self._tell_lost(descriptor.digest, error)
            raise
        finally:
            writer.abort()
        self._store.records.add_blob(descriptor.digest, descriptor.size)

    def _tell_lost(self, digest: Digest, error: FirkinError) -> None:
        """Raise LostLayer if only a cache has the blob; what it said is forgotten."""
        tree_id = self._promised.get(digest)
        if tree_id is not None:
            self._store.records.forget_layer(tree_id)
            raise LostLayer(tree_id, error) from error


def unfit(error: ValueError) -> StepFailed:
    """Return the error for a file that a layer cannot take: its name means a removal, or it changed meanwhile."""
    return StepFailed(
        str(error),
        code="layer-content",
        hints=("give it another name or leave it out; what is being written to can be built once that is done",),
    )


def _damaged(descriptor: Descriptor, origin: str, error: ValueError) -> FirkinError:
    what = f"layer {descriptor.digest} cannot be unpacked: {error}"
    if hints := limit_hints(error):
        return StepFailed(what, code="unpack-limit", hints=hints)
    if origin:
        return RegistryError(
            what, code="registry-layer", hints=(f"it came from {origin.partition('://')[2]}; pull or push it again",)
        )
    return StoreError(what, code="layer-damaged", hints=("build again with `--no-cache`",))


def _owners(index: LayerIndex) -> OwnerOf:
    def owner_of(path: str, uid: int, gid: int) -> tuple[int, int]:
        record = index.lookup(path)
        if record is None or record.entry is None:
            return uid, gid
        return record.entry.uid, record.entry.gid

    return owner_of


def _take_from_below(root: str, paths: tuple[str, ...], below: StackView, owner_free: bool) -> None:
    """Give directories that a layer's tar only implies what they have in the layers below.

    Overlayfs shows the attributes of the topmost layer, so without this a `usr/bin/tool` alone would hide
    the mode and owner of `/usr`.
    """
    with Folders(root) as folders:
        for path in sorted(paths, reverse=True):
            entry = below.implied(path)
            if entry is None:
                continue
            fd = folders.readable(path)
            try:
                if not owner_free:
                    os.fchown(fd, entry.uid, entry.gid)
                os.fchmod(fd, entry.mode)
                for name, value in entry.xattrs:
                    set_xattr(fd, name, value, path, escape=True)
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(fd)

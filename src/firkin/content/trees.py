"""Layers as trees: fetches and unpacks missing ones, keeps the changes of steps, shows stacks of trees. Does I/O.

A tree is made once, by one task, and kept in the store. The layers of a base are unpacked in parallel. Attributes of
directories that a layer's tar only implies depend on the layers below, so they are set once those are unpacked.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from firkin.content.cached import CachedLayers
from firkin.content.failures import damaged, unfit
from firkin.content.indexes import LayerIndexes
from firkin.content.progress import FetchProgress
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.content.sources import LayerSources
from firkin.errors import FirkinError
from firkin.layer.change import Change, View
from firkin.layer.index import IndexWriter
from firkin.layer.limits import UnpackLimits
from firkin.layer.view import DiffTree, LayerReader, MergedView, StackView
from firkin.linux.folders import Folders
from firkin.oci.digest import Digest
from firkin.oci.image import Layer
from firkin.store.store import Store
from firkin.store.trees import StagedTree
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pool, Task

if TYPE_CHECKING:
    from firkin.layer.unpack import Unpacked

    _Unpacking = Task[tuple[StagedTree, Unpacked]]


class LayerTrees:
    """The unpacked layers of one build. Thread-safe.

    `owner_free`: files cannot get owners here, so the index beside a tree holds them.
    """

    def __init__(
        self,
        store: Store,
        sources: LayerSources,
        cached: CachedLayers,
        indexes: LayerIndexes,
        progress: FetchProgress,
        transfers: Pool,
        cancel: Cancel,
        *,
        owner_free: bool,
        limits: UnpackLimits,
    ) -> None:
        self._store = store
        self._sources = sources
        self._cached = cached
        self._indexes = indexes
        self._progress = progress
        self._transfers = transfers
        self._cancel = cancel
        self._owner_free = owner_free
        self._limits = limits
        self._lock = threading.Lock()
        self._unpacking: dict[tuple[str, bool], _Unpacking] = {}
        self._sealing = threading.Lock()

    def has_base(self, snapshot: Snapshot) -> bool:
        """Tell whether the store has the layers of a base image, as trees or blobs."""
        return not self._missing(snapshot)

    def ensure(self, snapshot: Snapshot, vertex: str) -> tuple[str, ...]:
        """Return the diff directories of a snapshot, bottom first; makes missing ones.

        Downloads and unpacks missing layers in parallel; `vertex` gets the progress of those of no base image.
        """
        with self._progress.shown(self._missing(snapshot)):
            self._use(snapshot)
            tasks = self._begin(snapshot, vertex)
            paths: list[str] = []
            for ref in snapshot.layers:
                if ref.tree_id in tasks:
                    self._finish(ref, tasks[ref.tree_id], tuple(paths), vertex)
                paths.append(self._store.trees.path(ref.tree_id))
            return tuple(paths)

    def _missing(self, snapshot: Snapshot) -> list[Digest]:
        """Return the blobs of base images that have to be fetched before the snapshot can be unpacked."""
        return [
            ref.pulled.descriptor.digest
            for ref in snapshot.layers
            if ref.pulled is not None
            and not self._store.trees.has(ref.tree_id)
            and not self._store.keeps(ref.pulled.descriptor)
        ]

    def _use(self, snapshot: Snapshot) -> None:
        """Protect the trees in the store from `prune`, before anybody relies on them."""
        here = tuple(ref.tree_id for ref in snapshot.layers if self._store.trees.has(ref.tree_id))
        if here:
            self._store.records.use_trees(here)

    def _begin(self, snapshot: Snapshot, vertex: str) -> dict[str, _Unpacking]:
        """Start unpacking each layer that has no tree, unless another step has; return the tasks by layer."""
        tasks: dict[str, _Unpacking] = {}
        with self._lock:
            for ref in snapshot.layers:
                if self._store.trees.has(ref.tree_id):
                    continue
                key = (ref.tree_id, self._cached.replaced(ref.tree_id))
                if key not in self._unpacking:
                    self._unpacking[key] = self._transfers.submit(lambda ref=ref: self._unpack(ref, vertex))  # type: ignore[misc]
                tasks[ref.tree_id] = self._unpacking[key]
        return tasks

    def _finish(self, ref: LayerRef, task: _Unpacking, below: tuple[str, ...], vertex: str) -> None:
        """Wait for a layer, give it the attributes from the trees below, and put it into the store under its name."""
        try:
            staged, result = task.result()
        except FirkinError as error:
            if not self._cached.replace(ref.tree_id, error):
                raise
            if self._store.trees.has(ref.tree_id):
                return
            staged, result = self._unpack(ref, vertex)
        with self._sealing:
            if self._store.trees.has(ref.tree_id):
                staged.drop()
                return
            implied = result.implied if result.root is not None else ("", *result.implied)
            _take_from_below(staged.path, implied, self.stack(below), self._owner_free)
            staged.seal(ref.tree_id)

    def _unpack(self, ref: LayerRef, vertex: str) -> tuple[StagedTree, Unpacked]:
        self._cancel.check()
        known, origin = self._sources.find(ref)
        staged = self._store.stage_tree()
        try:
            return staged, self._fill(staged, known, origin, vertex)
        except BaseException:
            staged.drop()
            raise

    def _fill(self, staged: StagedTree, known: Layer, origin: str, vertex: str) -> Unpacked:
        from firkin.layer.confined import unpack_confined  # a cached build unpacks nothing

        descriptor = known.descriptor
        local = self._store.keeps(descriptor)
        writer = None if local else self._store.blobs.new()
        try:
            result, diff_id = unpack_confined(
                self._sources.read(descriptor, origin, vertex, local=local),
                descriptor,
                known.diff_id,
                staged.path,
                writer,
                chown=not self._owner_free,
                index=staged.index_path if self._owner_free else "",
                limits=self._limits,
            )
            if writer is not None:
                writer.commit(descriptor.digest)
                self._store.records.add_blob(descriptor.digest, descriptor.size)
            self._store.records.add_layer_sizes({diff_id: result.size_bytes})
        except ValueError as error:
            raise damaged(descriptor, origin, error) from error
        finally:
            if writer is not None:
                writer.abort()
        return result

    def write(
        self,
        tree_id: str,
        changes: Iterable[Change],
        *,
        below: str = "",
        may_link: Callable[[str], bool] | None = None,
    ) -> None:
        """Keep changes as a tree, with an index where files cannot have their owners; raises StepFailed.

        `below` is the tree whose root attributes show through; `may_link` as in apply_changes.
        """
        from firkin.layer.apply import apply_changes

        index = IndexWriter()
        with self._store.stage_tree() as staged:
            try:
                if below:
                    _take_attributes(below, staged.path)
                heard = _heard(changes, index) if self._owner_free else changes
                apply_changes(heard, staged.path, may_link=may_link, chown=not self._owner_free)
                if self._owner_free:
                    staged.write_index(index)
            except ValueError as error:
                raise unfit(error) from error
            staged.seal(tree_id)

    # Views

    def stack(self, trees: tuple[str, ...]) -> StackView:
        """Return the merged view of trees, bottom first; their indexes have the owners that files cannot have."""
        if not self._owner_free:
            return StackView(trees)
        return StackView(trees, [self._indexes.of_tree(tree) for tree in trees])

    def view(self, snapshot: Snapshot, vertex: str) -> StackView:
        """Return the merged view of a snapshot with all contents; unpacks missing layers."""
        return self.stack(self.ensure(snapshot, vertex))

    def names_view(self, snapshot: Snapshot, vertex: str, *, keep_blobs: bool = False) -> View:
        """Return a view that has every name of a snapshot, but contents of unpacked layers only.

        A layer that is not unpacked gets an index, made once while its blob is read. Its files are not kept; its
        blob is kept only with `keep_blobs`, if it will be needed.
        """
        readers: list[LayerReader] = []
        self._use(snapshot)
        for ref in snapshot.layers:
            if self._store.trees.has(ref.tree_id):
                tree = self._store.trees.path(ref.tree_id)
                readers.append(DiffTree(tree, self._indexes.of_tree(tree)))
            else:
                try:
                    readers.append(self._indexes.ensure(ref, vertex, keep_blob=keep_blobs))
                except FirkinError as error:
                    if not self._cached.replace(ref.tree_id, error):
                        raise
                    return self.names_view(snapshot, vertex, keep_blobs=keep_blobs)
        return MergedView(readers)


def _heard(changes: Iterable[Change], index: IndexWriter) -> Iterator[Change]:
    for change in changes:
        index.add(change)
        yield change


def _take_attributes(below: str, path: str) -> None:
    """Give a new diff directory the attributes of the root below, since overlayfs shows those of the topmost."""
    try:
        status = os.stat(below)
    except FileNotFoundError:
        return
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, status.st_mode & 0o7777)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _take_from_below(root: str, paths: tuple[str, ...], below: StackView, owner_free: bool) -> None:
    """Give directories that a layer's tar only implies the attributes that they have in the layers below.

    Overlayfs shows the attributes of the topmost layer, so without this a `usr/bin/tool` alone would hide
    the mode and owner of `/usr`.
    """
    from firkin.layer.attributes import set_xattr

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

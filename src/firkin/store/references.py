"""References: they say who needs which trees and blobs. What is referenced is never removed. Does I/O.

Garbage collection (store/gc.py) knows nothing of images, builds or containers. It asks every provider in PROVIDERS for
its references, and keeps what they name:

* an image in the store's list needs the blobs of its documents and layers;
* a process that uses the store now needs everything that was used since it began: a build looks up layers one by one;
* an owner that needs something for longer than a process lives (a container) registers a reference: a file in
  `references/`, which stays until it is released. The collector need not know its kind.

An owner registers a reference before it relies on what it names. `register` writes the reference first and then checks
that everything is there. So a collector that runs at the same time finds the reference, or finds that the layers were
just used, or has removed them already; in the last case `register` raises an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from firkin.decode import decode_json
from firkin.errors import StoreError
from firkin.linux.files import read_named
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, framed_hash
from firkin.oci.manifest import Index, parse_manifest
from firkin.store.layout import StoreLayout, locked, store_error, write_atomically
from firkin.tuples import NamedTuple

if TYPE_CHECKING:
    from firkin.store.store import Store

IMAGE, PROCESS = "image", "process"
_LONGEST_KIND = 64


class StoreReference(msgspec.Struct, frozen=True):
    """What one owner needs: trees by id, blobs by digest, and with `since_s` everything that was used since then.

    `kind` says what the owner is (an image, a process, later a container); `kind` and `name` together are unique.
    """

    kind: str
    name: str
    trees: tuple[str, ...] = ()
    blobs: tuple[Digest, ...] = ()
    since_s: float | None = None


def references(store: Store) -> Iterator[StoreReference]:
    """Yield all references; raises StoreError when one cannot be read, because nothing may be removed then."""
    for provider in PROVIDERS:
        yield from provider(store)


class Held(NamedTuple):
    """Everything that references name: the kind of its (first) owner, by tree id and by digest."""

    trees: dict[str, str]
    blobs: dict[str, str]


def held(store: Store, lost_images: Container[str] = ()) -> Held:
    """Ask all providers; `lost_images` (digests of images without a name) count as removed already."""
    found = Held({}, {})
    for reference in references(store):
        if reference.kind == IMAGE and reference.name in lost_images:
            continue
        for tree in reference.trees:
            found.trees.setdefault(tree, reference.kind)
        for blob in reference.blobs:
            found.blobs.setdefault(blob, reference.kind)
    return found


def held_since(store: Store, now: float) -> float:
    """Return the time since when everything that was used is needed; `now` if no reference has such a time.

    Images are not asked: they name what they need.
    """
    asked = (*_of_processes(store), *registered(store))
    return min((now, *(reference.since_s for reference in asked if reference.since_s is not None)))


# Images


def _of_images(store: Store) -> Iterator[StoreReference]:
    """Yield a reference for each image in the store's list; one without a name has its digest as its name."""
    children: dict[Digest, tuple[Descriptor, ...]] = {}
    for image in store.images.entries():
        blobs: dict[Digest, None] = {}
        todo = [image.descriptor]
        while todo:
            descriptor = todo.pop()
            if descriptor.digest not in blobs:
                blobs[descriptor.digest] = None
                if descriptor.digest not in children:
                    children[descriptor.digest] = children_of(store, descriptor)
                todo += children[descriptor.digest]
        yield StoreReference(IMAGE, image.name or image.descriptor.digest, (), tuple(blobs))


def children_of(store: Store, descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """Return what a document of the store names: manifests, or configuration and layers; () if it is not here."""
    if descriptor.media_type not in (*media.MANIFESTS, *media.INDEXES) or store.blobs.size(descriptor.digest) is None:
        return ()
    document = parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    if isinstance(document, Index):
        return document.manifests
    return (document.config, *document.layers)


# Processes


def _of_processes(store: Store) -> Iterator[StoreReference]:
    """Yield a reference for each other process that uses this store; its scratch space is as old as the process."""
    base = f"{store.layout.root}/tmp"
    own = os.path.basename(store.layout.scratch) + ".lock"
    for name in os.listdir(base):
        if name.endswith(".lock") and name != own:
            with suppress(FileNotFoundError):
                yield StoreReference(PROCESS, name.removesuffix(".lock"), since_s=os.stat(f"{base}/{name}").st_mtime)


# Registered references


def register(store: Store, reference: StoreReference) -> None:
    """Keep a reference until it is released; it replaces one with the same kind and name.

    Raises StoreError, and keeps nothing, when something that it names is not in the store (any more). Raises ValueError
    for a kind that cannot be printed, or that is an image's or a process's.
    """
    store.layout.ensure_directories()
    keep(store.layout, reference, store.layout.scratch)
    store.records.use_trees(reference.trees)
    gone = [tree for tree in reference.trees if not store.trees.has(tree)]
    for blob in reference.blobs:
        size = store.blobs.size(blob)
        if size is None or not store.keeps(Descriptor("", blob, size)):
            gone.append(blob)
    if gone:
        release(store, reference.kind, reference.name)
        raise StoreError(
            f"{gone[0]} is not in the store any more", code="reference-gone",
            hints=("it was removed at this moment; build or pull it again",),
        )  # fmt: skip


def release(store: Store, kind: str, name: str) -> None:
    """Remove a reference; what it named may be removed from now on, unless others need it."""
    drop(store.layout, kind, name)


def keep(layout: StoreLayout, reference: StoreReference, scratch: str, *, sync: bool = True) -> None:
    """Keep a reference without a look at what it names; the store need not be open.

    The caller then looks whether it is there: a collector removes trees only while it holds the lock that this takes,
    after it has read all references under it. `scratch` is a directory of the store's file system. Without `sync` the
    reference may be lost in a power failure. Raises StoreError, and ValueError as `register` does.
    """
    _check_kind(reference.kind)
    path = reference_path(layout, reference.kind, reference.name)
    with locked(layout.images_lock):
        try:
            write_atomically(path, _encode(reference), scratch, sync=sync)
        except OSError as error:
            raise store_error("cannot write a reference", error) from error


def drop(layout: StoreLayout, kind: str, name: str) -> None:
    """Remove a reference as `release` does; the store need not be open."""
    with locked(layout.images_lock), suppress(FileNotFoundError):
        os.unlink(reference_path(layout, kind, name))


def registered_trees(store: Store) -> set[str]:
    """Return the trees that registered references name. Raises StoreError."""
    return {tree for reference in registered(store) for tree in reference.trees}


def registered(store: Store) -> Iterator[StoreReference]:
    """Yield the registered references; raises StoreError for one that cannot be read."""
    for name in sorted(os.listdir(store.layout.references)):
        path = f"{store.layout.references}/{name}"
        try:
            reference = _read(path)
        except (OSError, ValueError, RecursionError) as error:
            if _is_lost(path):
                continue
            raise StoreError(
                f"a reference to layers cannot be read: {error}",
                code="store-reference",
                hints=(f"nothing is removed meanwhile; if nobody needs it, remove {path}",),
            ) from error
        yield reference


def _is_lost(path: str) -> bool:
    """Say whether a reference was just released, or written without `sync` before a power failure."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _read(path: str) -> StoreReference:
    reference = decode_json(read_named(path), StoreReference)
    _check_kind(reference.kind)
    return reference


def _check_kind(kind: str) -> None:
    """Refuse a kind that has another provider, or that cannot be shown as it is. Raises ValueError."""
    if kind in (IMAGE, PROCESS) or not (kind.isprintable() and 0 < len(kind) <= _LONGEST_KIND):
        raise ValueError(f"`{repr(kind)[1:-1]}` is not the kind of a registered reference")


def reference_path(layout: StoreLayout, kind: str, name: str) -> str:
    """Return the file of a reference; who removes it holds the lock of the images."""
    return f"{layout.references}/{framed_hash((kind.encode(), name.encode()))}"


def _encode(reference: StoreReference) -> bytes:
    return msgspec.json.encode(reference)


PROVIDERS: tuple[Callable[[Store], Iterator[StoreReference]], ...] = (_of_images, _of_processes, registered)

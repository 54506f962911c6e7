"""The layers of a container: held by a reference as long as it exists, unpacked before it starts. Does I/O.

When everything is unpacked already, this opens no database and starts no process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from firkin.containers.home.engine import Engine
from firkin.errors import ContainerError
from firkin.oci.digest import chain_ids
from firkin.oci.image import Image
from firkin.store.layout import StoreLayout
from firkin.store.references import StoreReference, drop, keep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from firkin.oci.descriptor import Descriptor

CONTAINER = "container"
"""The kind of a container's reference; its name is the id."""


def tree_ids(image: Image) -> tuple[str, ...]:
    """Return the ids of an image's layers in the store, top down."""
    chain = chain_ids(layer.diff_id for layer in image.layers)
    return tuple(id.partition(":")[2] for id in reversed(chain))


def hold_image(
    engine: Engine, id: str, image: Image, scratch: str, *, more_trees: Sequence[str] = (), sync: bool = True
) -> None:
    """Keep an image's trees and blobs for a container from now on; they need not be unpacked yet.

    Raises StoreError; ContainerError (`missing`) when the image was just removed.

    Whoever relies on them looks for them afterwards (`ensure_layers`): a collector that runs meanwhile has either seen
    the reference, or has removed them before that. `scratch` is a directory of the store.
    """
    blobs = (image.manifest.digest, image.config.digest, *(layer.descriptor.digest for layer in image.layers))
    reference = StoreReference(CONTAINER, id, (*tree_ids(image), *more_trees), blobs)
    layout = StoreLayout(engine.root)
    keep(layout, reference, scratch, sync=sync)
    if not all(os.path.exists(layout.blob_path(digest)) for digest in blobs[:2]):
        message = f"No such image: {image.config.digest}"  # it was just removed
        raise ContainerError(message, kind="missing", code="container-image")


def let_go(engine: Engine, id: str) -> None:
    """Release what a container needed."""
    drop(StoreLayout(engine.root), CONTAINER, id)


def ensure_layers(engine: Engine, image: Image) -> tuple[str, ...]:
    """Unpack those layers of an image that are not, or take what a build made; return the ids of all, top down.

    Raises FirkinError: StoreError for a damaged or missing blob, HostError when the machine offers no namespaces.
    """
    trees = tree_ids(image)
    if missing_trees(engine, trees):
        _unpack(engine, image)
    return trees


def missing_trees(engine: Engine, trees: Sequence[str]) -> tuple[str, ...]:
    """Return those trees that are not in the store."""
    layout = StoreLayout(engine.root)
    return tuple(tree for tree in trees if not os.path.isdir(f"{layout.trees}/{tree}/fs"))


def image_of_container(engine: Engine, digest: str) -> Image:
    """Return the image of a container by the digest of its manifest or configuration. Raises ContainerError."""
    from firkin.containers.keeping.image import image_for

    return image_for(engine, digest)


def _unpack(engine: Engine, image: Image) -> None:
    from firkin.containers.home.namespaces import within

    backend = engine.backend()
    single = backend.single_id

    def work() -> str:
        from firkin.containers.keeping.built import take_built
        from firkin.content.layers import open_layers
        from firkin.content.snapshot import LayerRef, Snapshot
        from firkin.layer.limits import UNPACK_LIMITS
        from firkin.tasks.cancel import Cancel
        from firkin.tasks.pools import Pools

        ids = reversed(tree_ids(image))
        refs = tuple(LayerRef(id, layer) for id, layer in zip(ids, image.layers, strict=True))
        with engine.store() as store:
            take_built(store, [(ref.tree_id, layer) for ref, layer in zip(refs, image.layers, strict=True)])
            layers = open_layers(
                store, Pools(1, 4, 2), _Nowhere(), lambda event: None, Cancel(), store.records.clock,
                owner_free=single, limits=engine.limits or UNPACK_LIMITS,
            )  # fmt: skip
            layers.trees.ensure(Snapshot(refs, ""), "")
        return ""

    within(backend, work)


class _Nowhere:
    """Fetches nothing: an image in the store has its blobs."""

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        """Raise StoreError."""
        from firkin.errors import StoreError

        raise StoreError(f"blob {descriptor.digest} is missing from the store", code="blob-missing")

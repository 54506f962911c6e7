"""Fetches layers of images into the store: each resumed where an earlier pull ended, and checked in one pass. Does I/O.

    registry → bytes → sha256, size (BlobStream) → partial blob of the store ─┐
                    └→ inflate → sha256: the diff_id that the image states  ──┴→ rename to the blob's place

The bytes of a partial blob go through the same checks as those of the registry. If the whole is wrong, the beginning
may have been, so it is fetched once more from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from firkin.errors import RegistryError
from firkin.layer.blob import in_pieces, measure_tar, read_tar
from firkin.layer.tar import limit_hints
from firkin.oci.image import Layer
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.registry.download import Begun
from firkin.store.partial import PartialBlob, open_partial
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

_NOT_SATISFIABLE = 416


def fetch_layer(
    store: Store, client: RegistryClient, reference: Reference, layer: Layer, cancel: Cancel,
    moved: Callable[[int], None] | None = None,
) -> None:  # fmt: skip
    """Put a layer's blob into the store; `moved` is called with how many of its bytes are there.

    Raises RegistryError, with the code `registry-layer` if the layer unpacks to something else than its image says;
    StoreError; Cancelled. What came by then stays for the next time, unless it is wrong or the disk is full.
    """
    partial = open_partial(store.layout, layer.descriptor.digest)
    try:
        for again in (partial.size > 0, False):
            try:
                size = _fetch(client, reference, layer, partial, cancel, moved)
                break
            except RegistryError as error:
                wrong = error.code in ("registry-digest", "registry-layer") or error.status == _NOT_SATISFIABLE
                if wrong:
                    partial.restart()
                if not (wrong and again):
                    raise
        partial.commit()
    finally:
        partial.leave()
    store.records.add_blob(layer.descriptor.digest, layer.descriptor.size)
    store.records.add_layer_sizes({layer.diff_id: size})


def _fetch(
    client: RegistryClient, reference: Reference, layer: Layer, partial: PartialBlob, cancel: Cancel,
    moved: Callable[[int], None] | None,
) -> int:  # fmt: skip
    """Bring a partial blob to its end, and check all of it; return what the layer unpacks to."""
    descriptor = layer.descriptor
    begun = Begun(partial.size, partial.held()) if partial.size else None
    with client.open_blob(reference, descriptor, begun=begun) as stream:
        chunks = _kept(stream, partial, cancel, moved)
        try:
            return read_tar(chunks, descriptor, layer.diff_id, measure_tar)[0]
        except ValueError as error:
            raise RegistryError(
                f"cannot pull `{reference.familiar}`: layer {descriptor.digest}: {error}", code="registry-layer",
                hints=limit_hints(error) or ("the image is damaged: it has to be built and pushed again",),
            ) from error  # fmt: skip


def _kept(
    chunks: Iterable[bytes], partial: PartialBlob, cancel: Cancel, moved: Callable[[int], None] | None
) -> Iterator[bytes]:
    """Pass a blob on in pieces, and write those to the partial blob that it does not hold yet."""
    done = 0
    for piece in in_pieces(chunks):
        cancel.check()
        done += len(piece)
        if done > partial.size:
            partial.write(piece[len(piece) - (done - partial.size) :])
        if moved is not None:
            moved(done)
        yield piece

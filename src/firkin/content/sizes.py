"""What layers unpack to: the sizes that `images`, `inspect` and `history` show. Does I/O.

Who makes or verifies a layer knows its size as the bytes pass, and notes it by diff_id: `content.blobs` and
`content.trees` do, and who keeps a layer without unpacking it calls `keep_layer`. A layer of which nobody noted it is
measured on first demand: its blob is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from firkin.errors import StoreError
from firkin.layer.blob import measure_blob
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.image import Layer
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

_CHUNK = 1 << 20


def keep_layer(
    store: Store,
    layer: Layer,
    chunks: Iterable[bytes],
    cancel: Cancel,
    moved: Callable[[int], None] | None = None,
    limits: UnpackLimits = UNPACK_LIMITS,
) -> None:
    """Put a layer's blob into the store, or nothing: digest, size and diff_id are verified in one pass, its size noted.

    `moved` is called with the number of bytes so far. Raises ValueError for a layer that is not what its image says,
    Cancelled, StoreError, and what `chunks` raises.
    """
    descriptor = layer.descriptor

    def passing() -> Iterator[bytes]:
        done = 0
        for chunk in chunks:
            cancel.check()
            yield chunk
            if moved is not None:
                done += len(chunk)
                moved(done)

    writer = store.blobs.new()
    try:
        size, _ = measure_blob(passing(), descriptor, layer.diff_id, writer, limits)
        writer.commit(descriptor.digest)
    finally:
        writer.abort()
    store.records.add_blob(descriptor.digest, descriptor.size)
    store.records.add_layer_sizes({layer.diff_id: size})


def layer_sizes(store: Store, layers: Iterable[Layer]) -> dict[str, int]:
    """Return what each layer unpacks to, by diff_id; measures those that nobody has measured. Raises StoreError."""
    wanted: dict[str, Layer] = {layer.diff_id: layer for layer in layers}
    try:
        sizes = store.records.layer_sizes(wanted)
    except StoreError:
        sizes = {}
    for diff_id, layer in wanted.items():
        if diff_id not in sizes:
            sizes[diff_id] = _measure(store, layer)
            with suppress(StoreError):  # without a usable database it is measured again the next time
                store.records.add_layer_sizes({diff_id: sizes[diff_id]})
    return sizes


def _measure(store: Store, layer: Layer) -> int:
    descriptor = layer.descriptor
    if not media.is_layer(descriptor.media_type):
        return 0  # an artifact, e.g. a chart or an attestation
    try:
        return measure_blob(_read(store, descriptor), descriptor, layer.diff_id)[0]
    except ValueError as error:
        raise StoreError(f"a layer in the store is damaged: {error}", code="image-damaged") from error


def _read(store: Store, descriptor: Descriptor) -> Iterator[bytes]:
    with store.blobs.open(descriptor.digest) as file:
        while chunk := file.read(_CHUNK):
            yield chunk

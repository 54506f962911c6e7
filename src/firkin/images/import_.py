"""Makes an image of a tar with a root file system. Does I/O.

The tar becomes the only layer: byte for byte if it is compressed with gzip or zstd, else compressed with gzip.
Mirrors: moby daemon/containerd/image_import.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from firkin.errors import ContextError
from firkin.images.intake import begin, limited
from firkin.layer.blob import read_tar, verified_blob
from firkin.layer.compress import detect_format, iter_decompressed
from firkin.layer.entry import TRAILER
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.stream import write_tar
from firkin.layer.tar import TarReader, clean_name, limit_hints
from firkin.oci import media
from firkin.oci.config import History, ImageConfig, RuntimeConfig, encode_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, finish, new_hasher
from firkin.oci.image import Layer, assemble
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference
from firkin.store.blobs import BlobWriter
from firkin.store.journal import image_event
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

_CHUNK = 1 << 20


class ImportRequest(msgspec.Struct, frozen=True):
    """What the image is to be: `created` is a time of RFC 3339, `message` the comment in its history."""

    platform: Platform
    created: str
    message: str
    runtime: RuntimeConfig = RuntimeConfig()
    name: Reference | None = None
    limits: UnpackLimits = UNPACK_LIMITS


def import_image(store: Store, chunks: Iterable[bytes], request: ImportRequest, cancel: Cancel) -> Digest:
    """Make an image of a tar, compressed or not, that is read once; return its id.

    Raises ContextError (`archive`) for what is no tar, StoreError.
    """
    writer = store.blobs.new()
    try:
        descriptor = _written(_checked(chunks, request.limits, cancel), writer, request.limits)
        writer.end()

        def again() -> Iterator[bytes]:
            with writer.reopen() as file:
                yield from iter(lambda: file.read(_CHUNK), b"")

        verified = verified_blob(again(), descriptor)
        size, diff_id = read_tar(verified, descriptor, None, lambda tar: _walk(tar, request.limits, cancel))
        writer.commit(descriptor.digest)
    except ValueError as error:
        raise ContextError(f"cannot import: {error}", code="archive", hints=limit_hints(error)) from error
    finally:
        writer.abort()
    store.records.add_blob(descriptor.digest, descriptor.size)
    store.records.add_layer_sizes({diff_id: size})
    config = encode_config(
        ImageConfig(
            platform=request.platform,
            runtime=request.runtime,
            diff_ids=(diff_id,),
            history=(History(created=request.created, comment=request.message),),
            created=request.created,
        )
    )
    image = assemble(config, (Layer(diff_id, descriptor),), "oci")
    for raw in (image.config.raw, image.manifest.raw):
        store.records.add_blob(store.blobs.put(raw), len(raw))
    store.images.tag(image.manifest.descriptor, (request.name,) if request.name is not None else (), request.created)
    id = image.config.digest
    name = request.name.familiar if request.name is not None else ""
    image_event(store.layout.root, "import", id, name, config.runtime.labels)
    return id


def _checked(chunks: Iterable[bytes], limits: UnpackLimits, cancel: Cancel) -> Iterator[bytes]:
    for chunk in limited(chunks, limits, "an archive"):
        cancel.check()
        yield chunk


def _written(chunks: Iterator[bytes], writer: BlobWriter, limits: UnpackLimits) -> Descriptor:
    """Write the blob of the layer; raises ValueError for a damaged stream."""
    start, chunks = begin(chunks)
    form = detect_format(start)
    if form in ("gzip", "zstd"):
        hasher = new_hasher()
        for chunk in chunks:
            hasher.update(chunk)
            writer.write(chunk)
        return Descriptor(f"{media.OCI_LAYER}+{form}", finish(hasher), writer.size)
    if not start:
        chunks = iter((TRAILER,))  # nothing is an empty archive, as docker has it
    written = write_tar(limited(iter_decompressed(chunks, form), limits, "an archive"), writer)
    return Descriptor(f"{media.OCI_LAYER}+gzip", written.digest, written.size)


def _walk(tar: Iterable[bytes], limits: UnpackLimits, cancel: Cancel) -> int:
    """Read every member, so that what is no tar, or leads out of the root, is refused now. Raises ValueError.

    Returns what the tar unpacks to.
    """
    reader = TarReader(tar, limits)
    while (member := reader.next_member()) is not None:
        cancel.check()
        clean_name(member.name, strict=True)
        if member.is_link:
            clean_name(member.link, strict=True)
    reader.drain()
    return reader.unpacked_bytes

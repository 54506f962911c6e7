"""Compresses the layers of an image that is to be pushed, if it was loaded with plain tars. Does I/O.

Archives of docker's older image store hold layers uncompressed, and docker compresses them in each push. Here it is
done once: the compressed image takes the place of the loaded one in the store, under all its tags. An image that a
registry has (or had) keeps its digest, as does one that an index lists.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import msgspec

from firkin.images.find import Found
from firkin.images.outgoing import Outgoing, outgoing
from firkin.images.progress import Transfer
from firkin.oci import media
from firkin.oci.image import is_image
from firkin.oci.manifest import Index, Manifest, parse_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.store import Store


def to_push(
    transfer: Transfer, found: Found, platform: Platform | None = None,
    during: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Outgoing:  # fmt: skip
    """Return what is pushed of an image of the store; its layers are compressed first where they are plain tars.

    `during` is entered for that, so that a front can show it.
    Raises as `outgoing` does, ContextError for damaged layers, Cancelled.
    """
    store = transfer.store
    content = outgoing(store, found, platform)
    document = parse_manifest(content.raw, content.root.media_type)
    if isinstance(document, Index) or content.replaces is not None or not _is_plain(document):
        return content
    if _is_known(store, found):
        return content
    with during():
        root = _compressed(transfer, found, document)
    return outgoing(store, msgspec.structs.replace(found, root=root.descriptor), platform)


def _is_plain(manifest: Manifest) -> bool:
    """Say whether some layers are tars that can be compressed, and all of them are here."""
    layers = manifest.layers
    return (
        is_image(manifest)
        and not any(layer.urls for layer in layers)
        and any(media.layer_compression(layer.media_type) == "none" for layer in layers)
    )


def _is_known(store: Store, found: Found) -> bool:
    return any(
        entry.is_digest_name and entry.descriptor.digest == found.root.digest for entry in store.images.entries()
    )


def _compressed(transfer: Transfer, found: Found, plain: Manifest) -> Manifest:
    """Keep the image with compressed layers, and let its tags mean that."""
    from firkin.images.copy.convert import Form, convert
    from firkin.images.copy.plan import Plan
    from firkin.images.copy.store_end import StoreSource

    store = transfer.store
    form = Form(compression="gzip", of=("none",))
    converted = convert(Plan(plain), form, StoreSource(store, found), lambda: store, transfer.side_by_side)
    root = converted.plan.root
    assert isinstance(root, Manifest), "a manifest stays one"
    store.records.add_blob(store.blobs.put(root.raw), len(root.raw))
    names = [entry.name for entry in store.images.entries() if entry.is_tag and entry.descriptor == found.root]
    if names:
        store.images.tag(root.descriptor, tuple(map(parse_reference, names)), found.created)
    return root

"""Keeps images in the store, under their names (type=store, `type=image`). Does I/O."""

from __future__ import annotations

from firkin.builder.output.built import Export
from firkin.builder.output.gather import gather
from firkin.builder.output.names import parse_names
from firkin.store.journal import image_event


def keep(export: Export) -> str:
    """Put manifests and configurations into the store, then name the image."""
    store, images, index = export.session.store, export.images, export.index
    gather(export.session, export.built)
    for image in images:
        store.blobs.put(image.config.raw)
        store.blobs.put(image.manifest.raw)
    if index is not None:
        store.blobs.put(index.raw)
    # Keep the names of -t as well as those of the output.
    names = tuple(dict.fromkeys((*parse_names(export.request.tags), *export.names)))
    root = index.descriptor if index is not None else images[0].manifest.descriptor
    store.images.tag(root, names, images[0].config.created)
    for name in names:
        config = images[0].config
        image_event(store.layout.root, "tag", config.digest, name.familiar, config.runtime.labels)
    return ""

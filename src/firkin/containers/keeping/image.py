"""Finds the image of a container, without a database where a name says which. Does I/O.

Images are found as every command finds them (images/find.py). A name that stands in the store's list, and points to
one manifest or to an index with one for this machine, is read directly, which takes a tenth of the time.
"""

from __future__ import annotations

from contextlib import suppress

from firkin.containers.home.engine import Engine
from firkin.errors import ContainerError, UsageError
from firkin.linux.machine import this_platform
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.image import Image, image_of
from firkin.oci.manifest import Index, choose_manifest, parse_manifest
from firkin.oci.platform import Platform, parse_platform
from firkin.oci.reference import parse_reference


def image_for(engine: Engine, text: str, platform: str = "") -> Image:
    """Return the image that a name, an id or a digest means, on a platform ("": this machine's, else what is here).

    Raises ContainerError: `missing` with `No such image: NAME:TAG` (nothing else is `missing` here: clients pull then),
    `invalid` for what can be no name or platform. Raises StoreError when it is damaged.
    """
    host = this_platform()
    try:
        wanted = parse_platform(platform, host) if platform else None
    except ValueError as error:
        raise ContainerError(str(error), kind="invalid", code="container-platform") from error
    engine.ensure_store()
    found = _directly(engine, text, wanted or host)
    return found if found is not None else _searched(engine, text, wanted)


def _directly(engine: Engine, text: str, platform: Platform) -> Image | None:
    from firkin.store.blobs import Blobs
    from firkin.store.images import Images
    from firkin.store.layout import StoreLayout

    try:
        reference = parse_reference(text)
    except ValueError:
        return None
    if reference.digest is not None:
        return None
    layout = StoreLayout(engine.root)
    name = str(reference)
    entry = next((entry for entry in Images(layout).entries() if entry.name == name), None)
    if entry is None:
        return None
    with suppress(OSError, ValueError):
        blobs = Blobs(layout)
        manifest: Descriptor | None = entry.descriptor
        document = parse_manifest(blobs.read(entry.descriptor.digest), entry.descriptor.media_type)
        if isinstance(document, Index):
            manifest = choose_manifest(document, platform)
            if manifest is None or blobs.size(manifest.digest) is None:
                return None
            document = parse_manifest(blobs.read(manifest.digest), manifest.media_type)
        if isinstance(document, Index):
            return None
        image = image_of(parse_config(blobs.read(document.config.digest)), document)
        return image if _runs_on(image, platform) else None
    return None


def _runs_on(image: Image, platform: Platform) -> bool:
    found = image.config.platform
    return (found.os, found.architecture) == (platform.os, platform.architecture)


def _searched(engine: Engine, text: str, platform: Platform | None) -> Image:
    from firkin.images.find import find_image

    with engine.store() as store:
        try:
            return find_image(store, text, platform).image
        except UsageError as error:
            kind = "missing" if error.code in ("no-image", "platform-absent") else "invalid"
            raise ContainerError(error.message, kind=kind, code=error.code, hints=error.hints) from error  # type: ignore[arg-type]

"""Loads images from an archive, a layout or a stream into the store: everything, or nothing. Does I/O.

    archive → scratch space (intake.py) → images, verified (contents.py) → blobs → names

Nothing gets its place among the blobs before everything is verified, and names come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from firkin.errors import ContextError, StoreError, UsageError
from firkin.images.contents import Kept, Listed, Node, Warn, read_contents
from firkin.images.find import find_image
from firkin.images.intake import DirectoryParts, Intake, Meter, Parts, TarParts
from firkin.images.platforms import choose_platforms, part_of, preferred
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.tar import limit_hints
from firkin.linux.machine import this_platform
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference
from firkin.store.journal import image_event
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel


class Moved(NamedTuple):
    """A name that meant another image before: the digest of its configuration (of its index, if that is damaged)."""

    name: Reference
    old_id: Digest


class Loaded(NamedTuple):
    """An image that was loaded.

    `id` is the digest of its configuration (of several platforms, that of this machine's), `digest` that of its
    manifest or index. `moved` lists those of its names that meant another image before.
    """

    names: tuple[Reference, ...]
    id: Digest
    digest: Digest
    platforms: tuple[Platform, ...]
    moved: tuple[Moved, ...]


class LoadRequest(msgspec.Struct, frozen=True):
    """What to load: all platforms, or only some.

    `name` is for an archive with one image without a name; if it had no tag when the user typed it (`tagged`), a tag in
    the archive takes precedence over `latest`.
    """

    platforms: tuple[Platform, ...] = ()
    name: Reference | None = None
    tagged: bool = True
    limits: UnpackLimits = UNPACK_LIMITS


class Front(NamedTuple):
    """Whom to tell what, and who may stop it."""

    cancel: Cancel
    meter: Meter
    warn: Warn


def load_stream(store: Store, chunks: Iterable[bytes], request: LoadRequest, front: Front) -> tuple[Loaded, ...]:
    """Load the images of a tar, compressed or not, that is read once.

    Raises ContextError (`archive`) for an archive that is damaged or not trusted, UsageError (`no-platform`,
    `load-name`), StoreError. Then the store is as it was, but for blobs that garbage collection removes.
    """
    return _load(store, lambda intake: TarParts(intake, chunks), request, front)


def load_directory(store: Store, path: str, request: LoadRequest, front: Front) -> tuple[Loaded, ...]:
    """Load the images of a layout, or of an unpacked archive; raises as `load_stream` does."""
    return _load(store, lambda intake: DirectoryParts(intake, path), request, front)


def _load(
    store: Store, open_parts: Callable[[Intake], Parts], request: LoadRequest, front: Front
) -> tuple[Loaded, ...]:
    intake = Intake(store, request.limits, front.cancel, front.meter)
    try:
        parts = open_parts(intake)
        listed = read_contents(parts, store, intake.new_blob, front.warn)
        listed = [_of_platforms(one, request.platforms) for one in listed]
        _name(listed, request)
        done: set[Digest] = set()
        for one in listed:
            _keep(store, one.node, done)
        return tuple(_tag(store, one) for one in listed)
    except ValueError as error:
        raise ContextError(f"cannot load: {error}", code="archive", hints=limit_hints(error)) from error
    except OSError as error:
        raise ContextError(f"cannot read the archive: {(error.strerror or str(error)).lower()}",
                           code="archive") from error  # fmt: skip
    finally:
        intake.close()


def _of_platforms(listed: Listed, platforms: tuple[Platform, ...]) -> Listed:
    """Return the image with only the wanted platforms: the manifest of one, an index of several."""
    node = listed.node
    if not platforms:
        return listed
    images = {image.descriptor.digest: image for image in node.images()}
    what = listed.names[0].familiar if listed.names else node.descriptor.digest
    chosen = choose_platforms(what, _offers(node), platforms)
    if node.index is None or len(chosen) == 1:
        return Listed(images[chosen[0].digest], listed.names, listed.tag)
    index = part_of(node.index, chosen)
    children = tuple(images[item.digest] for item in chosen)
    kept = Kept(documents={index.digest: index.raw})
    return Listed(Node(index.descriptor, None, kept, index, children), listed.names, listed.tag)


def _offers(node: Node) -> list[tuple[Descriptor, Platform]]:
    return [(image.descriptor, image.config.platform) for image in node.images() if image.config is not None]


def _name(listed: list[Listed], request: LoadRequest) -> None:
    """Give the user's name to the image of the archive that has none. Raises UsageError."""
    name = request.name
    if name is None:
        return
    nameless = [one for one in listed if not one.names] or listed
    if len(nameless) != 1:
        why = f"the archive has {len(nameless)} images that it could be for"
        raise UsageError(f"`{name.familiar}` can name one image only: {why}", code="load-name")
    (one,) = nameless
    if one.tag and not request.tagged:
        name = msgspec.structs.replace(name, tag=one.tag)
    if name not in one.names:
        one.names.append(name)


def _keep(store: Store, node: Node, done: set[Digest]) -> None:
    """Put the blobs of an image into their place: layers first, documents that name others last; each once."""
    for one in node.nodes():
        _keep_one(store, one, done)


def _keep_one(store: Store, node: Node, done: set[Digest]) -> None:
    sized = {digest: (writer, writer.size) for digest, writer in node.kept.layers.items()}
    sized |= {digest: (part.writer, part.size) for digest, part in reversed(node.kept.parts.items())}
    for digest, (writer, size) in sized.items():
        if digest not in done:
            writer.commit(digest)
            store.records.add_blob(digest, size)
            done.add(digest)
    store.records.add_layer_sizes(node.kept.sizes)
    for data in node.kept.documents.values():
        store.records.add_blob(store.blobs.put(data), len(data))


def _tag(store: Store, listed: Listed) -> Loaded:
    node, names = listed.node, tuple(listed.names)
    images = {image.descriptor.digest: image for image in node.images()}
    shown = preferred(_offers(node), this_platform())
    config = images[shown.digest].config if shown is not None else None
    assert config is not None, "an entry without an image is left out"
    moved = tuple(move for name in names if (move := _moved(store, name, config.digest)) is not None)
    store.images.tag(node.descriptor, (*names, *listed.digests), config.created)
    image_event(store.layout.root, "load", config.digest, labels=config.runtime.labels)
    platforms = tuple(image.config.platform for image in images.values() if image.config is not None)
    return Loaded(names, config.digest, node.descriptor.digest, platforms, moved)


def _moved(store: Store, name: Reference, new: Digest) -> Moved | None:
    """Return what a name means until now, if that is an image with another id."""
    old = store.images.find(name)
    if old is None:
        return None
    try:
        images = find_image(store, old.digest).images
    except (StoreError, UsageError):
        images = ()
    ids = [image.config.digest for image in images]
    return None if new in ids else Moved(name, ids[0] if len(ids) == 1 else old.digest)

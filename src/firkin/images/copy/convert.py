"""The same images in other media types, or with other compression of their layers. Does I/O.

A converted image has other digests. What states something about its old digest, an attestation, would be wrong and is
left out. A recompressed layer is kept in the store, so that an interrupted copy does not compress it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from firkin.errors import ContextError, UsageError
from firkin.hints import Hint
from firkin.images.copy.blobs import FileChunks
from firkin.images.copy.ends import Chunks, Document, Source
from firkin.images.copy.plan import ABOUT, Plan, renewed
from firkin.layer.blob import recompress_blob
from firkin.oci import codec, media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest
from firkin.oci.manifest import Index, Manifest, encode_index, encode_manifest
from firkin.oci.media import Compression, Family
from firkin.store.store import Store

ANY: tuple[Compression, ...] = ("none", "gzip", "zstd")


class Form(msgspec.Struct, frozen=True):
    """What is to change. `of` are the compressions that are replaced; `force` replaces equal ones too, for `level`."""

    family: Family | None = None
    compression: Compression | None = None
    level: int | None = None
    of: tuple[Compression, ...] = ANY
    force: bool = False

    @property
    def changes(self) -> bool:
        """Whether the images may get other digests."""
        return self.family is not None or self.compression is not None


class SideBySide(Protocol):
    """Does some work for every blob, several at a time."""

    def __call__(self, work: Callable[[Descriptor], None], blobs: Iterable[Descriptor], /) -> None: ...


class Converted(msgspec.Struct, frozen=True):
    """A plan with other documents. `made` opens the blobs that the source does not have; `dropped` are attestations."""

    plan: Plan
    made: dict[Digest, Callable[[], Chunks]] = {}
    dropped: tuple[Descriptor, ...] = ()


def convert(plan: Plan, form: Form, source: Source, store: Callable[[], Store], side_by_side: SideBySide) -> Converted:
    """Return the plan in another form. Raises UsageError for what has no such form, ContextError for damaged layers."""
    if not form.changes:
        return Converted(plan)
    layers = _Layers(form, source, store)
    layers.recompress(plan.manifests, side_by_side)
    return _Documents(form, layers.replaced).convert(plan, layers.made)


class _Layers:
    """Recompresses layers, each once."""

    def __init__(self, form: Form, source: Source, store: Callable[[], Store]) -> None:
        self._form = form
        self._source = source
        self._store = store
        self._diff_ids: dict[Digest, DiffID] = {}
        self.replaced: dict[Digest, Descriptor] = {}
        self.made: dict[Digest, Callable[[], Chunks]] = {}

    def recompress(self, manifests: tuple[Manifest, ...], side_by_side: SideBySide) -> None:
        wanted: dict[Digest, Descriptor] = {}
        for manifest in filter(is_image, manifests):
            changing = [layer for layer in manifest.layers if self._is_to_change(layer)]
            if changing:
                wanted |= {layer.digest: layer for layer in changing}
                self._diff_ids |= diff_ids_of(self._source, manifest)
        if wanted:
            store = self._store()
            side_by_side(lambda layer: self._one(layer, store), wanted.values())

    def _is_to_change(self, layer: Descriptor) -> bool:
        form, now = self._form, media.layer_compression(layer.media_type)
        return form.compression is not None and (form.force or (now != form.compression and now in form.of))

    def _one(self, layer: Descriptor, store: Store) -> None:
        form = self._form
        assert form.compression is not None
        writer = store.blobs.new()
        chunks = self._source.open(layer)
        try:
            written = recompress_blob(
                chunks, layer, self._diff_ids[layer.digest], writer, compression=form.compression, level=form.level
            )
            writer.commit(written.digest)
        except ValueError as error:
            raise ContextError(str(error), code="copy-damaged") from error
        finally:
            chunks.close()
            writer.abort()
        store.records.add_blob(written.digest, written.size)
        family = media.layer_family(layer.media_type) if form.compression != "zstd" else "oci"
        new = Descriptor(media.layer_media_type(family, form.compression), written.digest, written.size,
                         annotations=layer.annotations)  # fmt: skip
        self.replaced[layer.digest] = new
        self.made[new.digest] = lambda: FileChunks(store.blobs.open(new.digest), new, "the store")


def is_image(manifest: Manifest) -> bool:
    """Say whether a manifest is one of an image, not of an artefact: all its layers are file systems."""
    configs = (media.config_media_type("oci"), media.config_media_type("docker"))
    return manifest.config.media_type in configs and all(media.is_layer(layer.media_type) for layer in manifest.layers)


def read_whole(source: Source, blob: Descriptor) -> bytes:
    """Read a small blob; raises ContextError above 4 MiB."""
    if blob.size > codec.MAX_DOCUMENT_BYTES:
        raise ContextError(f"the configuration has {blob.size} bytes, more than {codec.MAX_DOCUMENT_BYTES}",
                           code="copy-config")  # fmt: skip
    chunks = source.open(blob)
    try:
        return b"".join(chunks)
    finally:
        chunks.close()


def diff_ids_of(source: Source, manifest: Manifest) -> dict[Digest, DiffID]:
    """Return what each layer of an image unpacks to, by its blob's digest. Raises ContextError."""
    try:
        diff_ids = parse_config(read_whole(source, manifest.config)).diff_ids
    except ValueError as error:
        raise ContextError(str(error), code="copy-config") from error
    if len(diff_ids) != len(manifest.layers):
        count = f"{len(diff_ids)} layers, the manifest {len(manifest.layers)}"
        raise ContextError(f"the configuration of {manifest.digest} lists {count}", code="copy-config")
    return dict(zip((layer.digest for layer in manifest.layers), diff_ids, strict=True))


class _Documents:
    """Writes manifests and indexes anew."""

    def __init__(self, form: Form, replaced: dict[Digest, Descriptor]) -> None:
        self._form = form
        self._replaced = replaced
        self._new: dict[Digest, Document] = {}
        self._dropped: list[Descriptor] = []

    def convert(self, plan: Plan, made: dict[Digest, Callable[[], Chunks]]) -> Converted:
        below = []
        for document in plan.below:
            self._new[document.digest] = self._one(document)
            below.append(self._new[document.digest])
        root = self._one(plan.root)
        if isinstance(root, Manifest) and not is_image(root) and self._form.family == "docker":
            raise UsageError("this is no image but an artefact, which has no docker format")
        gone = {item.digest for item in self._dropped}
        kept = tuple(item for item in below if item.digest not in gone)
        return Converted(msgspec.structs.replace(plan, root=root, below=kept), made, tuple(self._dropped))

    def _one(self, document: Document) -> Document:
        return self._manifest(document) if isinstance(document, Manifest) else self._index(document)

    def _manifest(self, manifest: Manifest) -> Manifest:
        if not is_image(manifest):
            return manifest
        layers = tuple(self._replaced.get(layer.digest, layer) for layer in manifest.layers)
        family = self._form.family or _family(manifest, layers)
        new = msgspec.structs.replace(
            manifest,
            media_type=media.manifest_media_type(family),
            config=msgspec.structs.replace(manifest.config, media_type=media.config_media_type(family)),
            layers=tuple(_typed(layer, family) for layer in layers),
            annotations=manifest.annotations if family == "oci" else (),
        )
        return manifest if new == manifest else encode_manifest(new)

    def _index(self, index: Index) -> Index:
        changed = {old for old, new in self._new.items() if new.digest != old}
        entries = []
        for item in index.manifests:
            if dict(item.annotations).get(ABOUT) in changed:
                self._dropped.append(item)
                continue
            entries.append(renewed(item, self._new.get(item.digest)))
        family = self._form.family or _family_of_index(index, entries)
        new_index = msgspec.structs.replace(
            index, media_type=media.index_media_type(family), manifests=tuple(entries),
            **({} if family == "oci" else {"annotations": (), "subject": None, "artifact_type": ""}),
        )  # fmt: skip
        return index if new_index == index else encode_index(new_index)


def _family_of_index(index: Index, entries: Iterable[Descriptor]) -> Family:
    """Return the family that an index keeps; Docker's lists only its own manifests."""
    own = index.media_type == media.OCI_INDEX or any(item.media_type == media.OCI_MANIFEST for item in entries)
    return "oci" if own else "docker"


def _family(manifest: Manifest, layers: tuple[Descriptor, ...]) -> Family:
    """Return the family that a manifest keeps; zstd has no media type in Docker's."""
    if any(media.layer_compression(layer.media_type) == "zstd" for layer in layers):
        return "oci"
    return "oci" if manifest.media_type == media.OCI_MANIFEST else "docker"


def _typed(layer: Descriptor, family: Family) -> Descriptor:
    if media.layer_family(layer.media_type) == family:
        return layer
    compression = media.layer_compression(layer.media_type)
    if family == "docker" and compression == "zstd":
        raise UsageError("a layer is compressed with zstd, which the docker format does not know",
                         hints=(Hint.of("copy-gzip"),))  # fmt: skip
    return msgspec.structs.replace(layer, media_type=media.layer_media_type(family, compression))

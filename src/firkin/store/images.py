"""Named images: the index.json of the store's OCI layout. Does I/O.

Names are where other tools look for them: each has an entry in `manifests`, annotated with
`org.opencontainers.image.ref.name` (the familiar name) and `io.containerd.image.name` (the full name, as containerd
and buildx write it). A change takes a lock, writes a temporary file and renames it.

There are three kinds of entries, as in docker's reference store:

* a **tag** (`docker.io/library/app:1`) points to what the registry's tag points to: a manifest, or an index, of which
  often only one platform is here;
* a **digest name** (`docker.io/library/app@sha256:...`) says that a registry's repository has (or had) this document:
  pull and push make it beside the tag (`pinned=True`). It always points to the document with that digest;
* an entry **without a name** keeps an image that was built without one, or that lost its last name to another.

What an image *is* (its id, its platform here) is in images/find.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from math import inf
from typing import Annotated, Literal

import msgspec

from firkin.decode import decode_json
from firkin.errors import StoreError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, parse_digest
from firkin.oci.manifest import MAX_SIZE, Index, encode_index, parse_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.store.layout import StoreLayout, locked, store_error, write_atomically

REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
CREATED = "org.opencontainers.image.created"


class StoredImage(msgspec.Struct, frozen=True):
    """A manifest or index of the store, and one name of it: NAME:TAG, NAME@DIGEST, or "" for an image without one."""

    name: str
    descriptor: Descriptor
    created: str = ""

    @property
    def is_tag(self) -> bool:
        return bool(self.name) and "@" not in self.name

    @property
    def is_digest_name(self) -> bool:
        return "@" in self.name


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    mediaType: str
    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]
    annotations: dict[str, str] = {}


class _List(msgspec.Struct, forbid_unknown_fields=True):
    """A list as firkin itself writes it, which is read in a fifth of the time that a foreign document takes."""

    schemaVersion: Literal[2]
    manifests: list[_Item]
    mediaType: Literal["application/vnd.oci.image.index.v1+json"] = "application/vnd.oci.image.index.v1+json"


class Images:
    """The named images of one store."""

    def __init__(self, layout: StoreLayout) -> None:
        self._path = f"{layout.root}/oci/index.json"
        self._lock = layout.images_lock
        self._layout = layout

    def entries(self) -> tuple[StoredImage, ...]:
        """Return every entry, in the order in which they were added."""
        try:
            with open(self._path, "rb") as file:
                listed = decode_json(file.read(), _List).manifests
            return tuple(map(_of_item, listed))
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            return tuple(map(_stored, self._read().manifests))

    def find(self, reference: Reference) -> Descriptor | None:
        """Return the image that a reference names here: by its digest if it has one, else by its tag, as in FROM."""
        for image in self.entries():
            if reference.digest is None:
                same = image.name == str(reference)
            else:
                same = image.descriptor.digest == reference.digest
            if same:
                return image.descriptor
        return None

    def tag(
        self, descriptor: Descriptor, names: tuple[Reference, ...], created: str = "", *, pinned: bool = False
    ) -> None:
        """Make all names point to the image; when that fails, no name is changed.

        A name with a digest becomes a digest name; with `pinned` each repository gets one as well (for pull and push).
        Without names the image gets one entry without a name. An image that loses its last name keeps an entry without
        one. Raises StoreError if the document is not in the store, ValueError for the digest of another document.
        """
        wanted = _entries_of(descriptor.digest, names, pinned)
        with locked(self._lock):
            if not os.path.exists(self._layout.blob_path(descriptor.digest)):
                raise StoreError(
                    f"image {descriptor.digest} is not in the store any more", code="image-gone",
                    hints=("it was removed at this moment; build or pull it again",),
                )  # fmt: skip
            kept: list[Descriptor] = []
            lost: list[Descriptor] = []
            for item in self._read().manifests:
                name = _name(item)
                if name in wanted:
                    lost.append(item)
                elif name or item.digest != descriptor.digest:
                    kept.append(item)
            kept += _nameless(lost, {descriptor.digest, *(item.digest for item in kept)})
            for name, reference in wanted.items() or (("", None),):
                annotations: list[tuple[str, str]] = [(CREATED, created)] if created else []
                if reference is not None:
                    annotations += [(FULL_NAME, name), (REF_NAME, reference.familiar)]
                kept.append(msgspec.structs.replace(descriptor, annotations=tuple(annotations)))
            self._write(kept)

    def remove(self, choose: Callable[[], tuple[Collection[StoredImage], bool]]) -> None:
        """Remove the entries that `choose` returns; nobody else changes names meanwhile.

        With True beside them, an image that has no other entry keeps one without a name.
        """
        with locked(self._lock):
            chosen, keeps_nameless = choose()
            going = {(entry.name, entry.descriptor.digest) for entry in chosen}
            kept: list[Descriptor] = []
            lost: list[Descriptor] = []
            for item in self._read().manifests:
                (lost if (_name(item), item.digest) in going else kept).append(item)
            if keeps_nameless:
                kept += _nameless(lost, {item.digest for item in kept})
            if lost:
                self._write(kept)

    def drop_unnamed(self, before: float = inf, *, dry: bool = False) -> tuple[Digest, ...]:
        """Remove unnamed entries whose manifest was last used by `before`; return images without an entry left."""
        with locked(self._lock):
            manifests = self._read().manifests
            kept = [item for item in manifests if _name(item) or self._used(item.digest) > before]
            if len(kept) < len(manifests) and not dry:
                self._write(kept)
        left = {item.digest for item in kept}
        return tuple(dict.fromkeys(item.digest for item in manifests if item.digest not in left))

    def _used(self, digest: Digest) -> float:
        try:
            return os.stat(self._layout.blob_path(digest)).st_mtime
        except FileNotFoundError:
            return 0.0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others from naming images while gc.py removes what no image needs."""
        with locked(self._lock):
            yield

    def _read(self) -> Index:
        try:
            with open(self._path, "rb") as file:
                raw = file.read()
            document = parse_manifest(raw, media.OCI_INDEX, "index.json of the store")
        except OSError as error:
            raise store_error("cannot read the list of images", error) from error
        except ValueError as error:
            raise StoreError(f"the list of images is damaged: {error}", code="store-index") from error
        if not isinstance(document, Index):
            raise StoreError("the list of images is damaged: not an index", code="store-index")
        return document

    def _write(self, manifests: list[Descriptor]) -> None:
        index = encode_index(Index(media.OCI_INDEX, tuple(manifests)))
        try:
            write_atomically(self._path, index.raw, self._layout.scratch)
        except OSError as error:
            raise store_error("cannot write the list of images", error) from error


def _entries_of(digest: Digest, names: tuple[Reference, ...], pinned: bool) -> dict[str, Reference]:
    """Return the names that entries get, in their canonical spelling. Raises ValueError."""
    wanted = {}
    for name in names:
        if name.digest not in (None, digest):
            raise ValueError(f"`{name}` cannot name {digest}")
        plain = name if name.digest is None else name.pinned(digest)
        wanted[str(plain)] = plain
    for name in names if pinned else ():
        wanted[str(name.pinned(digest))] = name.pinned(digest)
    return wanted


def _nameless(lost: list[Descriptor], have: set[Digest]) -> list[Descriptor]:
    """Return an entry without a name for each image that lost its name and has no other entry."""
    created = {item.digest: tuple(pair for pair in item.annotations if pair[0] == CREATED) for item in lost}
    items = {item.digest: item for item in lost if item.digest not in have}
    return [msgspec.structs.replace(item, annotations=created[digest]) for digest, item in items.items()]


def _of_item(item: _Item) -> StoredImage:
    descriptor = Descriptor(item.mediaType, parse_digest(item.digest), item.size)
    return StoredImage(_name_in(item.annotations), descriptor, item.annotations.get(CREATED, ""))


def _stored(item: Descriptor) -> StoredImage:
    return StoredImage(_name(item), _bare(item), dict(item.annotations).get(CREATED, ""))


def _name(item: Descriptor) -> str:
    return _name_in(dict(item.annotations))


def _name_in(annotations: dict[str, str]) -> str:
    full = annotations.get(FULL_NAME, "")
    if full:
        return full
    short = annotations.get(REF_NAME, "")
    try:
        return str(parse_reference(short)) if short else ""
    except ValueError:
        return short


def _bare(item: Descriptor) -> Descriptor:
    return msgspec.structs.replace(item, annotations=())

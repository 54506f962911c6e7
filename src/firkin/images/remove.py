"""Removes images and names of images, and frees what nothing else needs. Does I/O.

Mirrors: moby daemon/images/image_delete.go (ImageDelete), with these rules:

* A name removes itself. When no tag of its repository is left on the image, the repository's digest names go as well.
  The image goes with its last name.
* An id or a digest removes the image with all its names, if they lie in one repository and only one is a tag;
  otherwise only with force.
* An image that a container uses stays, with force without a name. A container says so by a registered reference
  (store/references.py) of the kind `container` whose blobs have the image's configuration or manifest.

Names change first, in one step; then blobs are freed (store/freeing.py). What other images, the build cache or a
running build need stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from firkin.errors import StoreError, UsageError
from firkin.images.find import Found, find_image
from firkin.images.names import familiar, repository_of
from firkin.linux.machine import this_platform
from firkin.oci.config import PairMap
from firkin.oci.digest import chain_ids, whole_digest
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.facts import Documents, Shown
from firkin.store.freeing import Needs, free_blobs
from firkin.store.images import StoredImage
from firkin.store.journal import image_event
from firkin.store.references import registered
from firkin.store.store import Store

CONTAINER = "container"
"""The kind of a container's reference."""
_SHORT = 12


class Removed(msgspec.Struct, frozen=True):
    """What went of one image: names in their short spelling, and deleted digests.

    `deleted` begins with the image id, if the image itself went; those of further platforms follow, then the chain ids
    of layers that were freed, the top one first.
    """

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


class Removal(NamedTuple):
    """What one operation removed, and the bytes on disk that it freed."""

    images: tuple[Removed, ...]
    freed_bytes: int


class Going(NamedTuple):
    """What is to go of one image: entries, the ids that go with the last of them, and their layers in order."""

    entries: tuple[StoredImage, ...]
    ids: tuple[str, ...] = ()
    layers: tuple[tuple[str, str], ...] = ()  # (chain id, digest of the blob), bottom first
    stays: bool = False  # in use: without a name, if need be
    id: str = ""  # of the image that stays
    labels: PairMap = ()


class Remover:
    """Removes images of one store, one after the other; documents are read once. For one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._needs = Needs(store)
        self._documents = Documents(store)

    def remove(self, text: str, *, force: bool = False) -> Removal:
        """Remove what a name, an id or a digest means.

        Raises UsageError: `no-image`, `ambiguous-id`, or `image-conflict` for what docker refuses without force (or
        with it). Raises StoreError.
        """
        return self.apply(lambda: (self._chosen(text, force),))

    def apply(self, choose: Callable[[], tuple[Going, ...]]) -> Removal:
        """Remove what is chosen while nobody else changes names, then free what nothing needs. Raises StoreError."""
        chosen: list[Going] = []

        def entries() -> tuple[list[StoredImage], bool]:
            chosen.extend(choose())
            listed = [entry for going in chosen for entry in going.entries]
            self._needs.of(listed)  # documents are read while they are certainly there
            return listed, any(going.stays for going in chosen)

        self._store.images.remove(entries)
        blobs = self._needs.of(entry for going in chosen for entry in going.entries)
        freed = free_blobs(self._store, blobs, self._needs) if blobs else ()
        names = {item.name for item in freed}
        for going in chosen:
            _tell(self._store, going)
        return Removal(tuple(_removed(going, names) for going in chosen), sum(item.size_bytes for item in freed))

    def _chosen(self, text: str, force: bool) -> Going:
        entries = self._store.images.entries()
        try:
            found = find_image(self._store, text)
        except StoreError:
            return _damaged(entries, text)
        same = _entries_of(self._documents, entries, found)
        named = tuple(entry for entry in same if entry.name)
        users = containers_of(self._store, {found.id, *(entry.descriptor.digest for entry in same)})
        if found.by_name or "@" in text:
            targets = _of_name(named, found, text)
            _check_name(found, named, users if not force else (), text)
        else:
            targets = named
            _check_id(found, named, users, force)
        labels = found.image.config.runtime.labels
        if len(targets) < len(named) or users:
            return Going(targets, stays=len(targets) == len(named), id=found.id, labels=labels)
        going = tuple(dict.fromkeys((*targets, *same)))
        kept = ids_of(self._documents, (entry for entry in entries if entry not in going))
        return gone_with(self._documents, going, kept, found.id)._replace(labels=labels)


def _entries_of(documents: Documents, entries: Sequence[StoredImage], found: Found) -> list[StoredImage]:
    """Return the entries that stand for an image; of one for another platform those of its index."""
    host, names = this_platform(), {*found.names, *found.digests}
    same = [
        entry
        for entry in entries
        if entry.name in names or (not entry.name and shown_id(documents, entry, host) == found.id)
    ]
    return same or [entry for entry in entries if (entry.name or entry.descriptor.digest) in found.removes]


def _check_name(found: Found, named: Sequence[StoredImage], users: Sequence[str], text: str) -> None:
    """Raise UsageError if a name may not be removed: the last one of an image that a container uses."""
    if users and is_single(named):
        raise conflict(
            f'unable to remove repository reference "{text}" (must force) - container {users[0][:_SHORT]} is using its '
            f"referenced image {short(found.id)}"
        )


def _check_id(found: Found, named: Sequence[StoredImage], users: Sequence[str], force: bool) -> None:
    """Raise UsageError if an id may not be removed."""
    if users and (not force or not named):
        must = "cannot be forced" if force else "must be forced"
        raise conflict(
            f"unable to delete {short(found.id)} ({must}) - image is being used by container {users[0][:_SHORT]}"
        )
    if not force and not is_single(named):
        names = ", ".join(familiar(entry.name) for entry in named)
        raise conflict(
            f"unable to delete {short(found.id)} (must be forced) - image is referenced in multiple repositories",
            f"its names are {names}",
        )


def conflict(why: str, hint: str = "remove the container first") -> UsageError:
    """Return the error for an image that may not be removed."""
    return UsageError(f"conflict: {why}", code="image-conflict", hints=(hint,))


def short(digest: str) -> str:
    """Return the 12 characters of an id that docker shows."""
    return digest.partition(":")[2][:_SHORT]


def containers_of(store: Store, digests: set[str]) -> tuple[str, ...]:
    """Return the names of the containers that use an image, which has these digests. Raises StoreError."""
    return tuple(
        reference.name
        for reference in registered(store)
        if reference.kind == CONTAINER and not digests.isdisjoint(reference.blobs)
    )


def digests_in_use(store: Store) -> set[str]:
    """Return the digests that containers name. Raises StoreError."""
    return {blob for reference in registered(store) if reference.kind == CONTAINER for blob in reference.blobs}


def shown_id(documents: Documents, entry: StoredImage, host: Platform) -> str:
    """Return the id of the image that an entry stands for, "" if it is damaged or not here."""
    try:
        shown = documents.shown(entry.descriptor, host)
    except StoreError:
        return ""
    return shown.facts.id if shown is not None else ""


def is_single(named: Sequence[StoredImage]) -> bool:
    """Say whether names are at most one tag, and digest names of its repository. Mirrors: isSingleReference."""
    repositories = {repository_of(entry.name) for entry in named}
    return len(named) <= 1 or (len(repositories) == 1 and sum(entry.is_tag for entry in named) <= 1)


def _of_name(named: tuple[StoredImage, ...], found: Found, text: str) -> tuple[StoredImage, ...]:
    """Return the entries that go with a name: its own, and with a repository's last tag its digest names."""
    whole = "" if found.by_name else _pinned(text)
    wanted = {whole} if any(entry.name == whole for entry in named) else set(found.removes)
    going = [entry for entry in named if entry.name in wanted]
    kept = [entry for entry in named if entry.name not in wanted]
    over = _tagged_in(going) - _tagged_in(kept)
    return (*going, *(entry for entry in kept if repository_of(entry.name) in over))


def _tagged_in(entries: Iterable[StoredImage]) -> set[str]:
    """Return the repositories of the tags among entries."""
    return {repository_of(entry.name) for entry in entries if entry.is_tag}


def _pinned(text: str) -> str:
    reference = parse_reference(text)
    return str(reference.pinned(reference.digest)) if reference.digest is not None else ""


def ids_of(documents: Documents, entries: Iterable[StoredImage]) -> set[str]:
    """Return the ids of all images in entries, without those that are damaged."""
    found: set[str] = set()
    for entry in entries:
        try:
            found.update(shown.facts.id for shown in documents.here(entry.descriptor))
        except StoreError:
            continue
    return found


def gone_with(documents: Documents, going: tuple[StoredImage, ...], kept: set[str], first: str = "") -> Going:
    """Return what goes with all entries of an image, but for the ids that are kept. Raises StoreError."""
    parts: dict[str, Shown] = {}
    for entry in going:
        for shown in documents.here(entry.descriptor):
            parts.setdefault(shown.facts.id, shown)
    documents.remember()
    ids = list(dict.fromkeys((*filter(None, (first,)), *(id for id in parts if id not in kept))))
    described = [documents.details(parts[id].manifest) for id in ids if id in parts]
    layers = [
        (chain, digest)
        for details in described
        for chain, (digest, _) in zip(chain_ids(details.diff_ids), details.layers)
    ]
    return Going(going, tuple(ids), tuple(layers))


def _damaged(entries: Sequence[StoredImage], text: str) -> Going:
    """Return the entries of an image that cannot be read: those of a name, or of the digest that entries point to."""
    digest = whole_digest(text)
    name = "" if digest is not None else str(parse_reference(text))
    going = tuple(entry for entry in entries if digest in (entry.descriptor.digest,) or (name and entry.name == name))
    if not going:
        raise UsageError(f"No such image: {text}", code="no-image")
    left = {entry.descriptor.digest for entry in entries if entry not in going}
    return Going(going, tuple(dict.fromkeys(e.descriptor.digest for e in going if e.descriptor.digest not in left)))


def _tell(store: Store, going: Going) -> None:
    """Write the events of a removal: one for each name, then one for each image that went."""
    id = (*going.ids, going.id)[0]
    for entry in going.entries:
        if entry.name:
            image_event(store.layout.root, "untag", id or entry.descriptor.digest, familiar(entry.name), going.labels)
    for gone in going.ids:
        image_event(store.layout.root, "delete", gone)


def _removed(going: Going, freed: set[str]) -> Removed:
    names = tuple(familiar(entry.name) for entry in going.entries if entry.name)
    chains = dict.fromkeys(chain for chain, digest in reversed(going.layers) if digest in freed)
    return Removed(names, (*going.ids, *chains))

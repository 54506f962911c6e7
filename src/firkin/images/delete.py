"""Deletes names and manifests in a registry, never more names than were asked for. Does I/O.

A registry of the distribution specification 1.1 deletes a tag alone. An older one deletes manifests only, and with a
manifest all tags that mean it: those are listed first, so that somebody can decide.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from firkin.errors import RegistryError, UsageError
from firkin.images.copy.several import Several
from firkin.oci.digest import Digest
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient

# What registries answer that do not delete tags: distribution 2 says 400 (DIGEST_INVALID), others 405 or 501.
_NO_TAGS = (400, 405, 501)
_MOST_TAGS = 10_000


class Deleted(msgspec.Struct, frozen=True):
    """What is gone: a tag alone, or the manifest `digest` with all `tags` that meant it."""

    digest: Digest
    tags: tuple[str, ...]
    manifest: bool


def delete_name(
    client: RegistryClient, name: Reference, several: Several, confirm: Callable[[tuple[str, ...]], bool]
) -> Deleted | None:
    """Delete a tag, or a manifest by its digest.

    `confirm` is asked with the tags that would go too although they were not named; None when it says no. Raises
    UsageError if there is no such manifest, or too many tags to look at; RegistryError.
    """
    digest = client.manifest_digest(name)
    if digest is None:
        raise UsageError(f"No such manifest: {name.familiar}", code="delete-missing")
    if name.digest is None and _delete_tag(client, name):
        return Deleted(digest, (name.tag,), manifest=False)
    named = () if name.digest is not None else (name.tag,)
    others = tuple(tag for tag in _tags_of(client, name, digest, several) if tag not in named)
    if others and not confirm(others):
        return None
    client.delete(msgspec.structs.replace(name, tag="", digest=digest))
    return Deleted(digest, (*named, *others), manifest=True)


def _delete_tag(client: RegistryClient, name: Reference) -> bool:
    try:
        client.delete(name)
    except RegistryError as error:
        if error.status not in _NO_TAGS:
            raise
        return False
    return True


def _tags_of(client: RegistryClient, name: Reference, digest: Digest, several: Several) -> tuple[str, ...]:
    """Return the tags that mean a manifest, sorted: one HEAD for each tag of the repository."""
    tags = client.list_tags(name)
    if len(tags) > _MOST_TAGS:
        raise UsageError(f"`{name.name}` has {len(tags)} tags, too many to find out which of them would go as well",
                         code="delete-tags")  # fmt: skip
    meaning: set[str] = set()

    def ask(tag: str) -> None:
        if client.manifest_digest(msgspec.structs.replace(name, tag=tag, digest=None)) == digest:
            meaning.add(tag)

    several(ask, tags)
    return tuple(sorted(meaning))

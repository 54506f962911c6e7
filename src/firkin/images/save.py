"""Writes images of the store as a file or directory that other tools read. Does I/O.

Mirrors: moby image/tarexport/save.go. A name saves the image under this name, a repository without a tag saves all its
tags, an id or a digest saves the image without a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO, Literal

import msgspec

from firkin.images.find import Found, find_image
from firkin.images.names import familiar
from firkin.images.pack import Packer, Warn
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, whole_digest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference, parse_reference
from firkin.store.journal import image_event
from firkin.store.store import Store

Find = Callable[[Store, str], Found]
Form = Literal["docker", "oci", "oci-dir"]
"""A tar for `docker load`, an OCI layout as a tar, an OCI layout in a directory."""


class SaveRequest(msgspec.Struct, frozen=True):
    """What to save: images as the user named them, in which form, all platforms that are here or only some."""

    images: tuple[str, ...]
    form: Form = "docker"
    platforms: tuple[Platform, ...] = ()


class _Wanted(msgspec.Struct):
    what: str
    root: Descriptor
    names: list[Reference]


def save_images(
    store: Store, request: SaveRequest, dest: str, stdout: BinaryIO | None, warn: Warn, find: Find = find_image
) -> None:
    """Write images with their layers, each once. `dest` is a path, or `-` for `stdout`.

    `warn` takes code and text of what is not saved as it is in the store. `find` is `find_image`, or what tells more
    about an image that is not there. Raises UsageError for an image or a platform
    that is not there, and for a place that cannot be written to; StoreError. Then nothing is written.
    """
    wanted: dict[Digest, _Wanted] = {}
    for text in request.images:
        _add(store, text, wanted, warn, find)
    with Packer(store, warn, for_docker=request.form == "docker") as packer:
        packed = [packer.pack(one.what, one.root, tuple(one.names), request.platforms) for one in wanted.values()]
        if request.form == "docker":
            from firkin.images.docker_archive import write_docker_archive

            write_docker_archive(packed, packer, dest, stdout, private=True)
        elif request.form == "oci":
            from firkin.images.oci_layout import write_tar

            write_tar(packed, packer, dest, stdout, private=True)
        else:
            from firkin.images.oci_layout import write_directory

            write_directory(packed, packer, dest)
    for one in wanted.values():
        image_event(store.layout.root, "save", one.root.digest, one.what)


def _add(store: Store, text: str, wanted: dict[Digest, _Wanted], warn: Warn, find: Find) -> None:
    named = list(_named(store, text))
    if not named:
        found = find(store, text)
        if found.names:
            names = ", ".join(map(familiar, found.names))
            warn("save-nameless", f"`{text}` is saved without a name; it has names here: {names}")
        wanted.setdefault(found.root.digest, _Wanted(text, found.root, []))
    for name, root in named:
        one = wanted.setdefault(root.digest, _Wanted(name.familiar, root, []))
        if name not in one.names:
            one.names.append(name)


def _named(store: Store, text: str) -> Iterable[tuple[Reference, Descriptor]]:
    """Yield the tags that a text means, and where each points to: its own, or all of a repository."""
    try:
        meant = parse_reference(text)
    except ValueError:
        return
    if whole_digest(text) is not None or meant.digest is not None:
        return
    whole = not text.endswith(f":{meant.tag}")
    for entry in store.images.entries():
        try:
            name = parse_reference(entry.name) if entry.name else None
        except ValueError:
            continue
        if name is not None and name.digest is None and (name == meant or (whole and name.name == meant.name)):
            yield name, entry.descriptor

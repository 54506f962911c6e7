"""An OCI image layout on this machine, a directory or a tar, as a source of base images. Does I/O.

Solve imports it. Spec: image-spec image-layout.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from firkin.builder.context.archive import Scratch, file_chunks, read_members
from firkin.errors import ContextError
from firkin.layer.change import Content
from firkin.layer.compress import MAGIC_BYTES, detect_format
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.tar import TarReader, clean_name, limit_hints
from firkin.oci.codec import MAX_DOCUMENT_BYTES
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, parse_digest
from firkin.oci.image import Image, image_of
from firkin.oci.manifest import Index, Manifest, choose_manifest, parse_manifest
from firkin.oci.platform import Platform

_PIECE = 1 << 20
_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"


class LayoutName(NamedTuple):
    """A parsed `oci-layout://`: the path of a layout, and the tag or digest of an image in it."""

    path: str
    tag: str
    digest: str

    @property
    def shown(self) -> str:
        """The name without its scheme, for messages."""
        return self.path + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_layout_name(text: str, cwd: str) -> LayoutName:
    """Read `PATH[:TAG][@DIGEST]`; the path may be relative to `cwd`. Raises ContextError for a bad digest."""
    path, at, digest = text.partition("@")
    if at:
        try:
            parse_digest(digest)
        except ValueError as error:
            raise ContextError(f"oci-layout://{text}: {error}", code="layout-name") from error
    tag = ""
    head, colon, tail = path.rpartition(":")
    if colon and "/" not in tail and not os.path.exists(os.path.join(cwd, path)):
        path, tag = head, tail
    return LayoutName(os.path.normpath(os.path.join(cwd, path)), tag, digest)


class _Piece(NamedTuple):
    """A member's bytes within a tar that is not compressed."""

    offset: int
    size: int


class OciLayout:
    """An opened layout. A tar is indexed once; a compressed tar is unpacked to scratch."""

    def __init__(self, path: str, scratch: Scratch, limits: UnpackLimits = UNPACK_LIMITS) -> None:
        self.path = path
        self._members: dict[str, _Piece | Content] | None = None
        if os.path.isfile(path):
            try:
                self._members = _members(path, scratch, limits)
            except ValueError as error:
                raise ContextError(
                    f"{path} is not a readable archive: {error}", code="layout", hints=limit_hints(error)
                ) from error
        self._read_marker()

    def _read_marker(self) -> None:
        marker = self._read("oci-layout", 4096)
        if marker is None or b"imageLayoutVersion" not in marker:
            raise ContextError(
                f"{self.path} is no OCI image layout",
                code="layout",
                hints=("it must hold `oci-layout` and `index.json`",),
            )

    def image(self, name: LayoutName, platform: Platform) -> tuple[Digest, Image]:
        """Return the digest of the manifest or index that the name points to, and the image for a platform.

        Raises ContextError.
        """
        descriptor = self._find(name)
        try:
            document = parse_manifest(self.read(descriptor), descriptor.media_type)
            while isinstance(document, Index):
                chosen = choose_manifest(document, platform)
                if chosen is None:
                    raise ContextError(f"oci-layout://{name.shown} has no image for {platform}", code="layout-platform")
                document = parse_manifest(self.read(chosen), chosen.media_type)
            return descriptor.digest, image_of(parse_config(self.read(document.config)), document)
        except ValueError as error:
            raise ContextError(f"oci-layout://{name.shown}: {error}", code="layout") from error

    def _find(self, name: LayoutName) -> Descriptor:
        index = self._index()
        return self._by_digest(index, name) if name.digest else self._by_tag(index, name)

    def _index(self) -> Index:
        raw = self._read("index.json", MAX_DOCUMENT_BYTES)
        if raw is None:
            raise ContextError(f"{self.path} has no index.json", code="layout")
        try:
            index = parse_manifest(raw, what="index.json")
        except ValueError as error:
            raise ContextError(f"{self.path}: {error}", code="layout") from error
        if isinstance(index, Manifest):
            raise ContextError(f"{self.path}: index.json is a manifest", code="layout")
        return index

    def _by_tag(self, index: Index, name: LayoutName) -> Descriptor:
        """Return the descriptor with the tag (default `latest`); without a tag, else the only image.

        Raises ContextError.
        """
        wanted = name.tag or "latest"
        for item in index.manifests:
            annotations = dict(item.annotations)
            names = (annotations.get(_REF_NAME, ""), annotations.get(_FULL_NAME, ""))
            if any(found == wanted or found.endswith(":" + wanted) for found in names):
                return item
        if not name.tag and len(index.manifests) == 1:
            return index.manifests[0]
        tags = sorted({dict(item.annotations).get(_REF_NAME, "") for item in index.manifests} - {""})
        raise ContextError(
            f"{self.path} has no image called `{wanted}`",
            code="layout-name",
            hints=(f"it has {', '.join(f'`{tag}`' for tag in tags[:20])}",) if tags else (),
        )

    def _by_digest(self, index: Index, name: LayoutName) -> Descriptor:
        """Return a descriptor from the index, or a new one for a manifest that only a nested index lists."""
        for item in index.manifests:
            if item.digest == name.digest:
                return item
        digest = parse_digest(name.digest)
        raw = self._read(_blob_path(digest), MAX_DOCUMENT_BYTES)
        if raw is None:
            raise ContextError(f"{self.path} has no image {digest}", code="layout-name")
        document = parse_manifest(raw)
        return Descriptor(document.media_type, digest, len(raw))

    def read(self, descriptor: Descriptor) -> bytes:
        """Return a document after verifying its size and digest. Raises ContextError."""
        raw = self._read(_blob_path(descriptor.digest), MAX_DOCUMENT_BYTES)
        if raw is None:
            raise self._missing(descriptor)
        algorithm, _, expected = descriptor.digest.partition(":")
        if len(raw) != descriptor.size or hashlib.new(algorithm, raw, usedforsecurity=False).hexdigest() != expected:
            raise ContextError(f"{self.path}: blob {descriptor.digest} is damaged", code="layout-damaged")
        return raw

    def open_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield a blob's bytes; the caller verifies the digest. Raises ContextError for a missing blob."""
        chunks = self._open(_blob_path(descriptor.digest))
        if chunks is None:
            raise self._missing(descriptor)
        return chunks

    def _missing(self, descriptor: Descriptor) -> ContextError:
        return ContextError(f"{self.path}: blob {descriptor.digest} is missing", code="layout-damaged")

    def _read(self, path: str, limit: int) -> bytes | None:
        chunks = self._open(path)
        if chunks is None:
            return None
        data = b""
        for chunk in chunks:
            data += chunk
            if len(data) > limit:
                raise ContextError(f"{self.path}: `{path}` is larger than {limit} bytes", code="layout-damaged")
        return data

    def _open(self, path: str) -> Iterator[bytes] | None:
        if self._members is None:
            place = f"{self.path}/{path}"
            return file_chunks(place) if os.path.isfile(place) else None
        found = self._members.get(path)
        if isinstance(found, bytes):
            return iter((found,))
        if isinstance(found, str):
            return file_chunks(found)
        return _piece_chunks(self.path, found) if found is not None else None


def _blob_path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _members(path: str, scratch: Scratch, limits: UnpackLimits) -> dict[str, _Piece | Content]:
    """Find the files of a tar. Raises ValueError."""
    with open(path, "rb") as file:
        plain = detect_format(file.read(MAGIC_BYTES)) == "none"
    found: dict[str, _Piece | Content] = {}
    if not plain:
        for member in read_members(file_chunks(path), scratch, limits):
            if member.content is not None:
                found[clean_name(member.path)] = member.content
        return found
    reader = TarReader(file_chunks(path), limits)
    while (item := reader.next_member()) is not None:
        if item.entry.kind == "file" and not item.is_link and item.sparse is None:
            found[clean_name(item.name)] = _Piece(reader.offset, item.stored)
    return found


def _piece_chunks(path: str, piece: _Piece) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        file.seek(piece.offset)
        left = piece.size
        while left:
            chunk = file.read(min(left, _PIECE))
            if not chunk:
                raise ContextError(f"{path} was cut short", code="layout-damaged")
            left -= len(chunk)
            yield chunk

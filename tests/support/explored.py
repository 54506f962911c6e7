"""Images whose layers are written as lines, served by a registry or kept in a store; for tests of `images/explore/`.

    layer("dir /etc", "file /etc/motd 0644 1:2 hello", "link /motd -> etc/motd", "hard /again = /etc/motd", "gone /old",
          "opaque /srv", "fifo /pipe")

Lines are members in their order, so a layer can say one thing twice. A file's content may have `\\n` in it.
"""

from __future__ import annotations

import gzip
import json

from firkin.layer.change import Entry
from firkin.layer.entry import TRAILER, encode_member, encode_opaque, encode_whiteout, padding
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Image, Layer, assemble
from firkin.oci.reference import parse_reference
from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry
from support.trees import tree


def layer(*lines: str) -> bytes:
    """Return the tar that the lines describe."""
    return b"".join(map(_member, lines)) + TRAILER


def _member(line: str) -> bytes:
    kind, path, *rest = line.split()
    path = path.strip("/")
    if kind == "gone":
        return encode_whiteout(path)
    if kind == "opaque":
        return encode_opaque(path)
    if kind == "hard":
        return encode_member(path, Entry("file"), link=rest[-1].strip("/"))
    view = tree(line)
    entry = view.lstat(path)
    assert entry is not None
    content = view.content(path) if entry.kind == "file" else b""
    assert isinstance(content, bytes)
    return encode_member(path, entry) + content + bytes(padding(len(content)))


class Made:
    """An image with its blobs."""

    def __init__(self, *tars: bytes, architecture: str = "amd64", config: dict[str, object] | None = None) -> None:
        blobs = [gzip.compress(tar, 1, mtime=0) for tar in tars]
        diff_ids = [digest_of(tar) for tar in tars]
        raw = json.dumps({
            "architecture": architecture, "os": "linux", "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }).encode()  # fmt: skip
        layers = tuple(
            Layer(DiffID(diff_id), Descriptor(media.layer_media_type("oci", "gzip"), digest_of(blob), len(blob)))
            for diff_id, blob in zip(diff_ids, blobs, strict=True)
        )
        self.image: Image = assemble(parse_config(raw), layers, "oci")
        self.blobs = blobs

    def serve(self, registry: FakeRegistry, name: str) -> str:
        """Put the image into a registry; return its whole name."""
        repository, _, tag = name.partition(":")
        for raw in (*self.blobs, self.image.config.raw):
            registry.add_blob(repository, raw)
        registry.add_manifest(repository, tag, self.image.manifest.media_type, self.image.manifest.raw)
        return f"{registry.host}/{name}"

    def keep(self, store: Store, name: str) -> str:
        """Put the image into a store, and return the name."""
        for raw in (*self.blobs, self.image.config.raw, self.image.manifest.raw):
            store.blobs.put(raw)
        store.images.tag(self.image.manifest.descriptor, (parse_reference(name),))
        return name


def blobs_asked_for(registry: FakeRegistry, made: Made) -> list[int]:
    """Return the numbers of an image's layers that were fetched, in order."""
    digests = [layer.descriptor.digest for layer in made.image.layers]
    asked = [seen.path.rpartition("/")[2] for seen in registry.requests("GET", "/blobs/")]
    return [digests.index(digest) for digest in asked if digest in digests]

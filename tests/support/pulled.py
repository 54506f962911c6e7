"""Images made of tars, and a source of their blobs; for tests of base layers."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator

from firkin.content.layers import Layers, open_layers
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.events import Event
from firkin.layer.change import Entry
from firkin.layer.entry import TRAILER, encode_member, padding
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, chain_ids, digest_of
from firkin.oci.image import Layer
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools

ORIGIN = "docker-image://r.test/i@sha256:0"
ME = (os.getuid(), os.getgid())
AT = 5 * 10**9


def directory(name: str, mode: int = 0o755) -> bytes:
    return encode_member(name, Entry("dir", mode, *ME, 0, AT))


def file(name: str, content: bytes = b"x") -> bytes:
    return encode_member(name, Entry("file", 0o644, *ME, len(content), AT)) + content + bytes(padding(len(content)))


def symlink(name: str, target: str) -> bytes:
    return encode_member(name, Entry("symlink", 0o777, *ME, 0, AT, target))


def layer(*members: bytes) -> bytes:
    """Return the tar of a layer."""
    return b"".join(members) + TRAILER


def blob_of(tar: bytes) -> tuple[Layer, bytes]:
    """Return a tar as a layer, and its blob."""
    blob = gzip.compress(tar, 1, mtime=0)
    descriptor = Descriptor(media.layer_media_type("oci", "gzip"), digest_of(blob), len(blob))
    return Layer(DiffID(digest_of(tar)), descriptor), blob


class Registry:
    """Blobs by digest, and the snapshots of images made of tars; `asked` are the digests that were fetched."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.before: Callable[[], None] = lambda: None  # called by each fetch, in its thread

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        self.asked.append(descriptor.digest)
        self.before()
        blob = self.blobs[descriptor.digest]
        yield blob[: len(blob) // 2]
        yield blob[len(blob) // 2 :]

    def image(self, *tars: bytes, diff_ids: tuple[str, ...] = ()) -> Snapshot:
        """Return an image's snapshot; `diff_ids` are those in its configuration, by default the right ones."""
        layers = []
        for number, tar in enumerate(tars):
            made, blob = blob_of(tar)
            self.blobs[made.descriptor.digest] = blob
            layers.append(Layer(DiffID(diff_ids[number]), made.descriptor) if diff_ids else made)
        chain = chain_ids(layer.diff_id for layer in layers)
        return Snapshot(
            tuple(
                LayerRef(chain_id.partition(":")[2], layer, ORIGIN)
                for chain_id, layer in zip(chain, layers)
            ),
            "base",
        )


class Builds:
    """Starts builds on one store; `events` holds those of all builds, `cancel` stops all."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store = store
        self.registry = registry
        self.events: list[Event] = []
        self.cancel = Cancel()
        self._pools: list[Pools] = []

    def __call__(self, limits: UnpackLimits = UNPACK_LIMITS, *, owner_free: bool = False) -> Layers:
        self._pools.append(Pools(2, 2, 2))
        return open_layers(
            self.store, self._pools[-1], self.registry, self.events.append, self.cancel, lambda: 1e6,
            limits=limits, owner_free=owner_free,
        )  # fmt: skip

    def close(self) -> None:
        for pools in self._pools:
            pools.close(RuntimeError("over"))

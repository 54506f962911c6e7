"""Snapshots: stacks of layers as the engine handles them, and what identifies them. Pure."""

from __future__ import annotations

import msgspec

from firkin.graph.key import root_identity
from firkin.graph.ops import Pull, Scratch
from firkin.oci.digest import chain_ids, framed_hash
from firkin.oci.image import Layer


class LayerRef(msgspec.Struct, frozen=True):
    """One layer. `tree_id` is the name of its unpacked form in the store.

    `pulled` and `origin` (see ops.Pull) are set for the layers of a base image. `from_run`: its files
    may have times at which a RUN happened to write them.
    """

    tree_id: str
    pulled: Layer | None = None
    origin: str = ""
    from_run: bool = False


class Snapshot(msgspec.Struct, frozen=True):
    """A root file system: layers bottom first. `identity` is what cache keys see of it."""

    layers: tuple[LayerRef, ...]
    identity: str

    def add(self, layer_id: str, *, known_as: str = "", from_run: bool = False) -> Snapshot:
        """Return the snapshot with the layer of a step on top; `known_as` identifies it, if not its id."""
        identity = framed_hash((self.identity.encode(), (known_as or layer_id).encode()))
        return Snapshot((*self.layers, LayerRef(layer_id, from_run=from_run)), identity)


def base_snapshot(op: Scratch | Pull) -> Snapshot:
    """Return the snapshot of a base image, or the empty one."""
    if isinstance(op, Scratch):
        return Snapshot((), root_identity(op))
    chain = chain_ids(layer.diff_id for layer in op.layers)
    layers = tuple(
        LayerRef(chain_id.partition(":")[2], layer, op.origin) for chain_id, layer in zip(chain, op.layers, strict=True)
    )
    return Snapshot(layers, root_identity(op))

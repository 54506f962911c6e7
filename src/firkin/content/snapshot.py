"""Snapshots: stacks of layers as the engine handles them, and their identities. Pure."""

from __future__ import annotations

import msgspec

from firkin.oci.digest import framed_hash
from firkin.oci.image import Layer


class LayerRef(msgspec.Struct, frozen=True):
    """One layer. `tree_id` is the name of its unpacked form in the store.

    `pulled` and `origin` (see ops.Pull) are set for the layers of a base image. `from_run`: its files
    may have mtimes from a RUN, which differ in every build.
    """

    tree_id: str
    pulled: Layer | None = None
    origin: str = ""
    from_run: bool = False


class Snapshot(msgspec.Struct, frozen=True):
    """A root file system: layers bottom first. `identity` stands for it in cache keys."""

    layers: tuple[LayerRef, ...]
    identity: str

    def add(self, layer_id: str, *, known_as: str = "", from_run: bool = False) -> Snapshot:
        """Return the snapshot with the layer of a step on top; `known_as` identifies the layer instead of its id."""
        identity = framed_hash((self.identity.encode(), (known_as or layer_id).encode()))
        return Snapshot((*self.layers, LayerRef(layer_id, from_run=from_run)), identity)

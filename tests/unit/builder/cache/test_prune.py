"""Which entries of a layer cache go, and what that frees."""

from __future__ import annotations

from firkin.builder.cache.entry import CacheEntry
from firkin.builder.cache.prune import Row, Rules, choose, layer_bytes
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest
from firkin.oci.image import Layer


def row(number: int, saved: float, size: int, layer: int | None = None) -> Row:
    key, digest = f"{number:064}", f"sha256:{number if layer is None else layer:064}"
    blob = Layer(DiffID(digest), Descriptor(media.OCI_LAYER, Digest(digest), size))
    return Row(key, CacheEntry(key, key, blob, "none::", saved, saved))


ROWS = (row(1, 100.0, 10), row(2, 90.0, 10), row(3, 10.0, 10), Row("f" * 64, None))


def test_which_entries_go() -> None:
    everything = Rules(0.0, 0, None)

    def gone(rules: Rules) -> list[int]:
        return [ROWS.index(item) for item in choose(ROWS, rules, 100.0)]

    assert gone(everything._replace(older_than_s=50.0)) == [2, 3]
    assert gone(everything._replace(keep_bytes=20)) == [3, 2]
    assert gone(everything._replace(used=frozenset({Digest(ROWS[1].digest)}))) == [0, 2, 3]


def test_a_layer_counts_once() -> None:
    assert layer_bytes((row(1, 3.0, 10), row(2, 2.0, 10, layer=1), row(3, 1.0, 7), ROWS[3])) == 17

"""Trees of steps as the layers of a container's image: where they are taken, and where they are not."""

import os
import time
from pathlib import Path

import pytest

from firkin.containers.keeping.built import take_built
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Layer
from firkin.store.records import LayerBlob
from firkin.store.store import Store

STEP, CHAIN, BELOW = "1" * 64, "2" * 64, "3" * 64
LAYER = Layer(DiffID(digest_of(b"tar")), Descriptor(media.OCI_LAYER, digest_of(b"blob"), 4))
BASE = Layer(DiffID(digest_of(b"base")), Descriptor(media.OCI_LAYER, digest_of(b"base blob"), 4))


def keep(store: Store, id: str, *, mode: int = 0o755) -> None:
    with store.stage_tree() as staged:
        place = Path(staged.path)
        (place / "etc").mkdir()
        (place / "etc/file").write_text("text")
        (place / "etc/link").symlink_to("file")
        os.setxattr(place / "etc", "user.overlay.opaque", b"y")
        os.utime(place / "etc", ns=(5, 7))
        (place / "etc").chmod(mode)
        staged.seal(id)


@pytest.mark.parametrize(("variant", "mode", "taken"), [
    ("gzip::", 0o755, True), ("zstd:3:", 0o755, True), ("gzip::1700000000", 0o755, False), ("gzip:::/left", 0o755, False),
    ("gzip::", 0o700, False),
])  # fmt: skip
def test_only_what_is_plainly_the_same_is_taken(tmp_path: Path, variant: str, mode: int, taken: bool) -> None:
    """Not a form that changed times or left paths out; not where the directories below have other attributes."""
    with Store(str(tmp_path / "store"), time.time) as store:
        keep(store, STEP)
        keep(store, BELOW, mode=mode)
        store.records.add_layer_blob(STEP, variant, LayerBlob(LAYER.diff_id, LAYER.descriptor))
        take_built(store, [(BELOW, BASE), (CHAIN, LAYER)])
        assert store.trees.has(CHAIN) is taken and store.trees.has(STEP)
        if taken:
            here, there = Path(store.trees.path(CHAIN)), Path(store.trees.path(STEP))
            assert (here / "etc/file").samefile(there / "etc/file") and os.readlink(here / "etc/link") == "file"
            assert os.getxattr(here / "etc", "user.overlay.opaque") == b"y"
            assert os.stat(here / "etc").st_mtime_ns == 7 and not (here / "etc").samefile(there / "etc")
    assert not [name for name in os.listdir(tmp_path / "store/tmp") if "tree" in name]


def test_what_is_above_an_unknown_layer_waits_for_it(tmp_path: Path) -> None:
    with Store(str(tmp_path / "store"), time.time) as store:
        keep(store, STEP)
        store.records.add_layer_blob(STEP, "gzip::", LayerBlob(LAYER.diff_id, LAYER.descriptor))
        take_built(store, [(BELOW, BASE), (CHAIN, LAYER)])
        assert not store.trees.has(CHAIN)

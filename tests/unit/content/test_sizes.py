"""What layers unpack to: noted as bytes pass, else measured once."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from firkin.content import sizes
from firkin.content.sizes import keep_layer, layer_sizes
from firkin.errors import Cancelled, StoreError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Layer
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "store"), lambda: 1000.0) as opened:
        yield opened


def made(content: bytes, target: str = "") -> tuple[Layer, bytes]:
    """Return a layer with one file and perhaps a symbolic link, and its blob."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
        if target:
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    blob = gzip.compress(out.getvalue(), mtime=0)
    descriptor = Descriptor(media.OCI_LAYER + "+gzip", digest_of(blob), len(blob))
    return Layer(DiffID(digest_of(out.getvalue())), descriptor), blob


def test_a_layer_is_kept_and_measured_in_one_pass(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, blob = made(b"x" * 1234, "äb")
    moved: list[int] = []
    keep_layer(store, layer, (blob[at : at + 7] for at in range(0, len(blob), 7)), Cancel(), moved.append)
    assert store.blobs.read(layer.descriptor.digest) == blob and moved[-1] == len(blob)
    assert store.keeps(layer.descriptor)
    monkeypatch.setattr(sizes, "_measure", lambda *_: pytest.fail("it was measured again"))
    assert layer_sizes(store, (layer, layer)) == {layer.diff_id: 1234 + 3}


@pytest.mark.parametrize("what", ["blob", "cut", "long", "tar"])
def test_a_layer_that_is_not_what_its_image_says_is_not_kept(store: Store, what: str) -> None:
    layer, blob = made(b"x" * 1234)
    if what == "tar":
        layer = Layer(DiffID(digest_of(b"another")), layer.descriptor)
    sent = {"blob": blob[:-1] + b"!", "cut": blob[:-1], "long": blob + b"!", "tar": blob}[what]
    with pytest.raises(ValueError, match="layer sha256:"):
        keep_layer(store, layer, (sent,), Cancel())
    assert store.blobs.size(layer.descriptor.digest) is None and store.records.layer_sizes() == {}


def test_a_stopped_layer_is_not_kept(store: Store) -> None:
    layer, blob = made(b"x" * 1234)
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        keep_layer(store, layer, (blob,), cancel)
    assert store.blobs.size(layer.descriptor.digest) is None


def test_layers_that_nobody_measured_are_measured_and_remembered(store: Store) -> None:
    first, second = made(b"x" * 10), made(b"y" * 20)
    for _, blob in (first, second):
        store.blobs.put(blob)
    store.records.add_layer_sizes({first[0].diff_id: 5})
    wanted = {first[0].diff_id: 5, second[0].diff_id: 20}
    assert layer_sizes(store, (first[0], second[0])) == wanted
    assert store.records.layer_sizes() == wanted


def test_a_missing_layer_is_told_and_what_is_no_layer_has_no_size(store: Store) -> None:
    layer, _ = made(b"x")
    with pytest.raises(StoreError, match="missing"):
        layer_sizes(store, (layer,))
    chart = Layer(layer.diff_id, Descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", digest_of(b""), 0))
    assert layer_sizes(store, (chart,)) == {layer.diff_id: 0}

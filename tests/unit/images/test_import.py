"""A root file system as an image: its layer, its configuration, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable

import pytest
import zstandard
from support.image_archives import layer_tar, tar_of

from firkin.errors import Cancelled, ContextError
from firkin.images.find import find_image
from firkin.images.import_ import ImportRequest, import_image
from firkin.images.names import read_tag
from firkin.layer.limits import UnpackLimits
from firkin.oci.config import RuntimeConfig
from firkin.oci.digest import digest_of
from firkin.oci.platform import Platform
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

ROOT = layer_tar(etc=b"x" * 300_000)
REQUEST = ImportRequest(Platform("linux", "arm64"), "2026-01-02T03:04:05Z", "Imported from -", name=read_tag("base:1"))


def press(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes, "bzip2": bz2.compress, "xz": lzma.compress, "gzip": press,
    "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip


def load(store: Store, data: bytes, request: ImportRequest = REQUEST, cancel: Cancel | None = None) -> str:
    pieces = (data[at : at + 10_000] for at in range(0, len(data), 10_000))
    return import_image(store, pieces, request, cancel or Cancel())


@pytest.mark.parametrize("form", COMPRESSIONS)
def test_gzip_and_zstd_are_kept_byte_for_byte(store: Store, form: str) -> None:
    data = COMPRESSIONS[form](ROOT)
    (image,) = find_image(store, load(store, data)).images
    (layer,) = image.layers
    raw = store.blobs.read(layer.descriptor.digest)
    assert layer.diff_id == digest_of(ROOT)
    assert store.records.layer_sizes((layer.diff_id,)) == {layer.diff_id: 300_000}, "the list need not read it again"
    if form in ("gzip", "zstd"):
        assert raw == data and layer.descriptor.media_type.endswith(f"+{form}")
    else:
        assert gzip.decompress(raw) == ROOT and layer.descriptor.media_type.endswith("+gzip")


def test_the_configuration_says_only_what_it_was_told(store: Store) -> None:
    runtime = RuntimeConfig(cmd=("sh",))
    id = load(store, ROOT, ImportRequest(REQUEST.platform, REQUEST.created, "mine", runtime))
    config = find_image(store, id).images[0].config
    assert (config.digest, config.runtime, config.created) == (id, runtime, REQUEST.created)
    assert str(config.platform) == "linux/arm64"
    (line,) = config.history
    assert (line.comment, line.created_by, line.empty_layer) == ("mine", "", False)
    assert [entry.name for entry in store.images.entries()] == [""]


@pytest.mark.parametrize(("data", "match"), [
    (b"no tar at all" * 100, "tar: "),
    (ROOT[:-8000], "cut short|middle of a file"),
    (press(ROOT)[:-30], "cut short"),
    (press(b"no tar" * 200), "tar: "),
    (tar_of({"../x": b""}), "leads out of the root"),
    (tar_of({}, None, {"x": "../../etc/passwd"}), "leads out of the root"),
    (tar_of({"a": bytes(5 << 20)}), "more than"),
    (press(tar_of({"a": bytes(5 << 20)})), "more than"),
    (lzma.compress(tar_of({"a": bytes(5 << 20)})), "more than"),
], ids=range(9))  # fmt: skip
def test_what_is_no_root_is_refused_without_a_trace(store: Store, data: bytes, match: str) -> None:
    with pytest.raises(ContextError, match=match):
        load(store, data, ImportRequest(REQUEST.platform, "", "", limits=UnpackLimits(1 << 20)))
    assert store.images.entries() == () and os.listdir(store.layout.scratch) == []
    assert [file for _, _, files in os.walk(store.layout.blobs) for file in files] == []


def test_an_import_can_be_stopped(store: Store) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        load(store, ROOT, cancel=cancel)
    assert os.listdir(store.layout.scratch) == []

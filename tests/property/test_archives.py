"""Archives that are cut short or damaged anywhere: loaded as a whole with what they say, or refused without a trace."""

from __future__ import annotations

import gzip
import os
import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.image_archives import described, docker_files, layer_tar, layout_files, oci_image, tar_of

from firkin.errors import ContextError
from firkin.images.load import Front, LoadRequest, load_stream
from firkin.oci import media
from firkin.oci.digest import digest_of
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

SOME = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
LAYERS = (layer_tar(one=b"1" * 600), layer_tar(two=b"2"))
CONFIG, MANIFEST = oci_image(*LAYERS)
NAMED = {"io.containerd.image.name": "docker.io/library/app:1"}
LAYOUT = layout_files([described(MANIFEST, media.OCI_MANIFEST, annotations=NAMED)], CONFIG, MANIFEST, *LAYERS)
ARCHIVES = [
    tar_of(docker_files(*LAYERS)),
    tar_of(docker_files(*map(gzip.compress, LAYERS), tars=LAYERS)),
    tar_of(LAYOUT),
    gzip.compress(tar_of(dict(reversed(LAYOUT.items()))), mtime=0),
]


def load(data: bytes) -> bool:
    """Say whether the archive could be loaded; then everything in it is right, else nothing of it is left."""
    front = Front(Cancel(), lambda name, size: lambda current: None, lambda code, text: None)
    with tempfile.TemporaryDirectory() as root, Store(root, lambda: 1.0) as store:
        try:
            loaded = load_stream(store, iter([data]), LoadRequest(), front)
        except ContextError:
            assert store.images.entries() == ()
            assert [file for _, _, files in os.walk(store.layout.blobs) for file in files] == []
            return False
        finally:
            assert os.listdir(store.layout.scratch) == []
        assert {entry.descriptor.digest for entry in store.images.entries()} == {image.digest for image in loaded}
        for place, _, files in os.walk(store.layout.blobs):
            for file in files:
                with open(f"{place}/{file}", "rb") as blob:
                    assert digest_of(blob.read()) == f"sha256:{file}"
        return True


@SOME
@given(st.integers(0, len(ARCHIVES) - 1), st.data())
def test_an_archive_cut_anywhere(number: int, data: st.DataObject) -> None:
    archive = ARCHIVES[number]
    cut = data.draw(st.integers(0, len(archive) - 1))
    loaded = load(archive[:cut])
    if cut < len(archive.rstrip(b"\0")):
        assert not loaded


@SOME
@given(st.integers(0, len(ARCHIVES) - 1), st.data())
def test_an_archive_with_other_bytes_anywhere(number: int, data: st.DataObject) -> None:
    archive = ARCHIVES[number]
    at = data.draw(st.integers(0, len(archive) - 1))
    other = data.draw(st.binary(min_size=1, max_size=4))
    load(archive[:at] + other + archive[at + len(other) :])


def test_every_cut_between_members() -> None:
    for archive in ARCHIVES[:3]:
        assert load(archive)
        loaded = [load(archive[:cut]) for cut in range(0, len(archive), 512)]
        assert loaded == sorted(loaded), "a longer part holds no less"

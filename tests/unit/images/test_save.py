"""Images of the store as archives and layouts: the names in them, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from support.image_archives import config_of, layer_tar
from support.stored import keep, keep_index

from firkin.errors import StoreError, UsageError
from firkin.images.platforms import preferred
from firkin.images.save import Form, SaveRequest, save_images
from firkin.linux.machine import this_platform
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.image import Image, Layer
from firkin.oci.manifest import Index, Manifest, encode_index, encode_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.store import Store

ONE, TWO = layer_tar(one=b"1" * 3000), layer_tar(two=b"2" * 400_000)


def save(store: Store, *texts: str, form: Form = "docker", dest: Path, **request: Any) -> list[str]:
    """Save images and return the warnings."""
    warnings: list[str] = []
    wanted = SaveRequest(texts, form, **request)
    save_images(store, wanted, str(dest), None, lambda code, text: warnings.append(f"{code}: {text}"))
    return warnings


def document(path: Path, name: str) -> Any:
    with tarfile.open(path) as archive:
        return json.load(archive.extractfile(name))  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "names"), [
    ("app:1", ["app:1"]),
    ("app", ["app:1", "app:2", "app:latest"]),
    ("docker.io/library/app:2", ["app:2"]),
    ("id", None),
    ("prefix", None),
])  # fmt: skip
def test_names_and_ids_trap_1(store: Store, tmp_path: Path, text: str, names: list[str] | None) -> None:
    """A repository means all its tags; an id saves no name, which is told: after loading, the names are gone."""
    image = keep(store, "app:1", "app:2", "app:latest", "other:1", layers=(ONE,))
    text = {"id": image.config.digest, "prefix": image.config.digest[7:20]}.get(text, text)
    warnings = save(store, text, dest=tmp_path / "image.tar")
    (entry,) = document(tmp_path / "image.tar", "manifest.json")
    assert entry["RepoTags"] == names
    assert [warning.partition(":")[0] for warning in warnings] == ["save-nameless"] * (names is None)
    entries = document(tmp_path / "image.tar", "index.json")["manifests"]
    full = [entry.get("annotations", {}).get("io.containerd.image.name") for entry in entries]
    assert full == [f"docker.io/library/{name}" for name in names or ()] or full == [None]


def test_several_images_share_their_layers(store: Store, tmp_path: Path) -> None:
    keep(store, "a:1", "b:1", layers=(ONE,))
    keep(store, "c:1", layers=(ONE, TWO))
    keep(store, "empty:1")
    assert save(store, "a:1", "c", "b:1", "a:1", "empty:1", dest=tmp_path / "image.tar") == []
    entries = document(tmp_path / "image.tar", "manifest.json")
    assert [entry["RepoTags"] for entry in entries] == [["a:1", "b:1"], ["c:1"], ["empty:1"]]
    assert [len(entry["Layers"]) for entry in entries] == [1, 2, 0]
    assert len(document(tmp_path / "image.tar", "index.json")["manifests"]) == 4
    one = digest_of(ONE)[7:]
    assert document(tmp_path / "image.tar", "repositories") == {
        "a": {"1": one}, "b": {"1": one}, "c": {"1": digest_of(TWO)[7:]},
    }  # fmt: skip
    with tarfile.open(tmp_path / "image.tar") as archive:
        assert len(set(archive.getnames())) == len(archive.getnames())
    save(store, "a:1", "c:1", form="oci-dir", dest=tmp_path / "layout")
    save(store, "b:1", form="oci-dir", dest=tmp_path / "layout")
    assert len(json.loads((tmp_path / "layout/index.json").read_text())["manifests"]) == 3


def test_an_unnamed_image_beside_named_ones_is_in_both_lists(store: Store, tmp_path: Path) -> None:
    named, other = keep(store, "a:1", layers=(ONE,)), keep(store, "b:1", layers=(TWO,))
    save(store, "a:1", other.config.digest, dest=tmp_path / "image.tar")
    listed = document(tmp_path / "image.tar", "index.json")["manifests"]
    assert [entry["digest"] for entry in listed] == [named.manifest.digest, other.manifest.digest]
    assert len(document(tmp_path / "image.tar", "manifest.json")) == 2


def test_nothing_is_written_if_an_image_is_missing(store: Store, tmp_path: Path) -> None:
    keep(store, "a:1", layers=(ONE,))
    with pytest.raises(UsageError) as caught:
        save(store, "a:1", "missing:1", dest=tmp_path / "image.tar")
    assert caught.value.code == "no-image" and list(tmp_path.glob("*.tar")) == []


def test_the_file_is_for_its_owner_alone(store: Store, tmp_path: Path) -> None:
    keep(store, "a:1", layers=(ONE,))
    save(store, "a:1", dest=tmp_path / "image.tar")
    assert stat.S_IMODE((tmp_path / "image.tar").stat().st_mode) == 0o600


def test_an_interrupted_save_leaves_no_half_file_trap_32(store: Store, tmp_path: Path) -> None:
    image = keep(store, "a:1", layers=(ONE, TWO))
    (tmp_path / "image.tar").write_text("before")
    path = Path(store.blobs.path(image.layers[1].descriptor.digest))
    path.write_bytes(TWO[:-1])
    with pytest.raises(StoreError):
        save(store, "a:1", dest=tmp_path / "image.tar")
    assert (tmp_path / "image.tar").read_text() == "before"
    assert [item.name for item in tmp_path.iterdir() if item.is_file()] == ["image.tar"]


def two_platforms(store: Store) -> tuple[Index, list[Image]]:
    images = [keep(store, layers=(data,), architecture=kind) for data, kind in ((ONE, "amd64"), (TWO, "arm64"))]
    return keep_index(store, "multi:1", *images), images


def test_several_platforms(store: Store, tmp_path: Path) -> None:
    """The index as it is; readers that know manifest.json only get this machine's platform."""
    index, images = two_platforms(store)
    here = preferred([(image.manifest.descriptor, image.config.platform) for image in images], this_platform())
    for form in ("docker", "oci"):
        assert save(store, "multi:1", form=form, dest=tmp_path / "image.tar") == []  # type: ignore[arg-type]
        assert document(tmp_path / "image.tar", "index.json")["manifests"][0]["digest"] == index.digest
    save(store, "multi:1", dest=tmp_path / "image.tar")
    (entry,) = document(tmp_path / "image.tar", "manifest.json")
    (shown,) = [image for image in images if here is not None and image.manifest.digest == here.digest]
    assert entry["Config"].endswith(shown.config.digest[7:])
    save(store, "multi:1", form="oci-dir", dest=tmp_path / "layout")
    assert {path.name for path in (tmp_path / "layout/blobs/sha256").iterdir()} >= {
        image.manifest.digest[7:] for image in images
    }


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_children_that_are_not_here_are_left_out_trap_5(store: Store, tmp_path: Path, form: Any) -> None:
    """Of two, the manifest of the one that is here; of three, an index without the third; either is told."""
    index, images = two_platforms(store)
    third = keep(store, layers=(ONE + TWO,), architecture="s390x")
    keep_index(store, "three:1", *images, third)
    for image in (images[1], third):
        Path(store.blobs.path(image.layers[0].descriptor.digest)).unlink()
    (warning,) = save(store, "multi:1", form=form, dest=tmp_path / "image.tar")
    (root,) = document(tmp_path / "image.tar", "index.json")["manifests"]
    assert root["digest"] == images[0].manifest.digest and index.digest in warning and root["digest"] in warning
    Path(store.blobs.path(images[1].layers[0].descriptor.digest)).write_bytes(TWO)
    (warning,) = save(store, "three:1", form=form, dest=tmp_path / "image.tar")
    (root,) = document(tmp_path / "image.tar", "index.json")["manifests"]
    inner = document(tmp_path / "image.tar", f"blobs/sha256/{root['digest'][7:]}")["manifests"]
    assert [item["digest"] for item in inner] == [image.manifest.digest for image in images]


def test_platforms_are_chosen_trap_6(store: Store, tmp_path: Path) -> None:
    _, images = two_platforms(store)
    arm, amd = Platform("linux", "arm64"), Platform("linux", "amd64")
    save(store, "multi:1", platforms=(arm,), dest=tmp_path / "image.tar")
    (root,) = document(tmp_path / "image.tar", "index.json")["manifests"]
    assert root["digest"] == images[1].manifest.digest
    assert root["annotations"]["io.containerd.image.name"] == "docker.io/library/multi:1"
    save(store, "multi:1", platforms=(arm, amd), form="oci", dest=tmp_path / "image.tar")
    (root,) = document(tmp_path / "image.tar", "index.json")["manifests"]
    assert len(document(tmp_path / "image.tar", f"blobs/sha256/{root['digest'][7:]}")["manifests"]) == 2
    with pytest.raises(UsageError, match="multi:1 has no image for linux/s390x") as caught:
        save(store, "multi:1", platforms=(Platform("linux", "s390x"),), dest=tmp_path / "image.tar")
    assert caught.value.hints == ("it has images for: linux/amd64, linux/arm64",)


def keep_zstd(store: Store, family: Any) -> Image:
    """Keep an image with a zstd layer; Docker has no media type for it, and some tools write one all the same."""
    data = zstandard.ZstdCompressor().compress(ONE)
    config = parse_config(config_of(digest_of(ONE)))
    kind = media.OCI_LAYER + "+zstd" if family == "oci" else media.DOCKER_LAYER + ".zstd"
    layer = Descriptor(kind, digest_of(data), len(data))
    described = Descriptor(media.config_media_type(family), config.digest, len(config.raw))
    manifest = encode_manifest(Manifest(media.manifest_media_type(family), described, (layer,)))
    for raw in (data, config.raw, manifest.raw):
        store.blobs.put(raw)
    store.images.tag(manifest.descriptor, (parse_reference("zstd:1"),))
    return Image(config, manifest, (Layer(config.diff_ids[0], layer),))


@pytest.mark.parametrize("family", ["oci", "docker"])
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_zstd_is_what_readers_take_trap_23(store: Store, tmp_path: Path, form: Any, family: Any) -> None:
    """For `docker load` gzip; in a layout OCI media types; the configuration, so the id, stays."""
    image = keep_zstd(store, family)
    warnings = save(store, "zstd:1", form=form, dest=tmp_path / "image.tar")
    (root,) = document(tmp_path / "image.tar", "index.json")["manifests"]
    manifest = document(tmp_path / "image.tar", f"blobs/sha256/{root['digest'][7:]}")
    assert manifest["config"]["digest"] == image.config.digest
    ((layer,),) = [manifest["layers"]]
    with tarfile.open(tmp_path / "image.tar") as archive:
        data = archive.extractfile(f"blobs/sha256/{layer['digest'][7:]}").read()  # type: ignore[union-attr]
    if form == "docker":
        assert gzip.decompress(data) == ONE and layer["mediaType"].endswith("gzip")
    else:
        assert layer["mediaType"] == media.OCI_LAYER + "+zstd" and root["mediaType"] == media.OCI_MANIFEST
    changed = (form, family) != ("oci", "oci")
    assert (root["digest"] != image.manifest.digest) == changed == bool(warnings)
    assert os.listdir(store.layout.scratch) == []


def test_attestations_travel_with_their_index(store: Store, tmp_path: Path) -> None:
    statement = b'{"predicateType":"x"}'
    config = Descriptor(media.OCI_CONFIG, store.blobs.put(b"{}"), 2)
    layer = Descriptor("application/vnd.in-toto+json", store.blobs.put(statement), len(statement))
    attestation = encode_manifest(Manifest(media.OCI_MANIFEST, config, (layer,)))
    store.blobs.put(attestation.raw)
    image = keep(store, layers=(ONE,))
    index = encode_index(Index(media.OCI_INDEX, (
        msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform),
        msgspec.structs.replace(attestation.descriptor, platform=Platform("unknown", "unknown")),
    )))  # fmt: skip
    store.blobs.put(index.raw)
    store.images.tag(index.descriptor, (parse_reference("signed:1"),))
    assert save(store, "signed:1", form="oci", dest=tmp_path / "image.tar") == []
    with tarfile.open(tmp_path / "image.tar") as archive:
        assert f"blobs/sha256/{layer.digest[7:]}" in archive.getnames()
    save(store, "signed:1", platforms=(image.config.platform,), form="oci", dest=tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        assert f"blobs/sha256/{layer.digest[7:]}" not in archive.getnames()


def test_an_archive_can_go_to_a_stream(store: Store, tmp_path: Path) -> None:
    keep(store, "app:1", layers=(ONE, TWO))
    save(store, "app:1", form="oci", dest=tmp_path / "image.tar")
    stream = io.BytesIO()
    save_images(store, SaveRequest(("app:1",), "oci"), "-", stream, lambda code, text: None)
    assert stream.getvalue() == (tmp_path / "image.tar").read_bytes()
    with open(tmp_path / "appended", "ab") as file, subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) as cat:
        assert cat.stdin is not None
        save_images(store, SaveRequest(("app:1",), "oci"), "-", cat.stdin, lambda code, text: None)
        cat.stdin.close()
    assert (tmp_path / "appended").read_bytes() == stream.getvalue()
    with open(tmp_path / "appended", "ab") as file:
        save_images(store, SaveRequest(("app:1",), "oci"), "-", file, lambda code, text: None)
    assert (tmp_path / "appended").read_bytes() == 2 * stream.getvalue()

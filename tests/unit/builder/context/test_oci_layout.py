"""An OCI layout as a source of images, as a directory and as tars."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import pytest

from firkin.builder.context.oci_layout import LayoutName, OciLayout, parse_layout_name
from firkin.errors import ContextError
from firkin.oci.digest import digest_of
from firkin.oci.platform import Platform

AMD64 = Platform("linux", "amd64")


def blob(root: Path, data: bytes) -> dict[str, object]:
    digest = digest_of(data)
    place = root / "blobs/sha256" / digest.partition(":")[2]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return {"digest": digest, "size": len(data)}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    root = tmp_path / "layout"
    root.mkdir()
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    layer = gzip.compress(bytes(1024))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(bytes(1024))]},
        "config": {"Env": ["A=b"]},
    }
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", **blob(root, json.dumps(config).encode())},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar+gzip", **blob(root, layer)}],
    }
    described = {"mediaType": f"{kind}.manifest.v1+json", **blob(root, json.dumps(manifest).encode())}
    nested = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.index.v1+json",
        "manifests": [{**described, "platform": {"os": "linux", "architecture": "amd64"}}],
    }
    named = {"mediaType": f"{kind}.index.v1+json", **blob(root, json.dumps(nested).encode())}
    index = {
        "schemaVersion": 2,
        "manifests": [
            {**described, "annotations": {"org.opencontainers.image.ref.name": "one"}},
            {**named, "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/x:two"}},
        ],
    }
    (root / "index.json").write_text(json.dumps(index))
    return root


def name_of(path: Path, tag: str = "", digest: str = "") -> LayoutName:
    return LayoutName(str(path), tag, digest)


def opened(path: Path) -> OciLayout:
    return OciLayout(str(path), lambda name: str(path.parent / name))


@pytest.mark.parametrize("form", ["directory", "tar", "tar.gz"])
def test_image_and_blobs(layout: Path, form: str) -> None:
    path = layout
    if form != "directory":
        path = layout.parent / "layout.tar"
        with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as archive:
            archive.add(layout, ".")
    found = opened(path)
    digest, image = found.image(name_of(path, "one"), AMD64)
    assert image.manifest.digest == digest
    assert image.config.runtime.env == ("A=b",)
    assert gzip.decompress(b"".join(found.open_blob(image.layers[0].descriptor))) == bytes(1024)
    two, same = found.image(name_of(path, "two"), AMD64)
    assert same == image
    assert two != digest
    assert found.image(name_of(path, digest=digest), AMD64) == (digest, image)


def test_what_is_missing(layout: Path) -> None:
    found = opened(layout)
    with pytest.raises(ContextError, match="no image called `three`") as caught:
        found.image(name_of(layout, "three"), AMD64)
    assert caught.value.hints == ("it has `docker.io/library/x:two`, `one`",)
    with pytest.raises(ContextError, match="no image for linux/s390x"):
        found.image(name_of(layout, "two"), Platform("linux", "s390x"))
    with pytest.raises(ContextError, match="no image sha256:"):
        found.image(name_of(layout, digest=digest_of(b"")), AMD64)
    with pytest.raises(ContextError, match="no OCI image layout"):
        opened(layout.parent)


def test_damage(layout: Path) -> None:
    found = opened(layout)
    digest, image = found.image(name_of(layout, "one"), AMD64)
    manifest = layout / "blobs/sha256" / digest.partition(":")[2]
    manifest.write_bytes(manifest.read_bytes()[:-1] + b" ")
    with pytest.raises(ContextError, match="is damaged"):
        opened(layout).image(name_of(layout, "one"), AMD64)
    (layout / "blobs/sha256" / image.layers[0].descriptor.digest.partition(":")[2]).unlink()
    with pytest.raises(ContextError, match="is missing"):
        found.open_blob(image.layers[0].descriptor)


def test_names(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    for text, expected in (
        ("lay", LayoutName(f"{tmp_path}/lay", "", "")),
        ("/abs/lay:1.0", LayoutName("/abs/lay", "1.0", "")),
        (f"lay:x@{digest}", LayoutName(f"{tmp_path}/lay", "x", digest)),
        (f"/a:b/c@{digest}", LayoutName("/a:b/c", "", digest)),
    ):
        assert parse_layout_name(text, str(tmp_path)) == expected
    (tmp_path / "we:ird").mkdir()
    assert parse_layout_name("we:ird", str(tmp_path)) == LayoutName(f"{tmp_path}/we:ird", "", "")
    with pytest.raises(ContextError, match="not a digest"):
        parse_layout_name("lay@sha256:12", str(tmp_path))

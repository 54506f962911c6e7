"""Other formats and compressions: what changes, what stays, and what cannot be."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.copies import AMD64, Copier, publish
from support.image_archives import layer_tar
from support.stored import make_image

from firkin.errors import ContextError, UsageError
from firkin.images.copy.convert import Form
from firkin.images.copy.plan import ABOUT, Selection
from firkin.layer.compress import detect_format, iter_decompressed
from firkin.oci import media
from firkin.oci.digest import digest_of
from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry

ONE, TWO = layer_tar(one=b"one" * 100_000), layer_tar(two=b"two" * 10_000)


@pytest.fixture
def multi(registry: FakeRegistry) -> Iterator[str]:
    """An index of two platforms, the first of which has an attestation; layers are plain tars."""
    images = [make_image(data, architecture=kind) for data, kind in ((ONE, "amd64"), (TWO, "arm64"))]
    yield publish(registry, "app", *images, layers=(ONE, TWO), attested=True)


def manifest_of(registry: FakeRegistry, architecture: str) -> tuple[str, dict[str, object]]:
    """Return media type and document of the image for an architecture under app:1."""
    _, raw = registry.manifests["app", "1"]
    entry = next(item for item in json.loads(raw)["manifests"] if item["platform"]["architecture"] == architecture)
    kind, found = registry.manifests["app", entry["digest"]]
    assert (kind, digest_of(found), len(found)) == (entry["mediaType"], entry["digest"], entry["size"])
    return kind, json.loads(found)


def test_dockers_format_changes_manifests_only_and_drops_their_attestations(
    multi: str, registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    copied = copy(multi, f"{other.host}/app:1", form=Form("docker"))
    assert other.manifests["app", "1"][0] == media.DOCKER_INDEX
    kind, manifest = manifest_of(other, "amd64")
    assert kind == media.DOCKER_MANIFEST == manifest["mediaType"]
    assert manifest["layers"] == [{"mediaType": media.DOCKER_LAYER, "digest": digest_of(ONE), "size": len(ONE)}]
    assert set(other.blobs.values()) < set(registry.blobs.values()), "no blob is new"
    assert [dict(item.annotations)[ABOUT] for item in copied.dropped] == [make_image(ONE).manifest.digest]
    assert b"attestation-manifest" not in copied.root.raw
    back = copy(f"{other.host}/app:1", f"{other.host}/back:1", form=Form("oci"))
    assert {item["mediaType"] for item in json.loads(back.root.raw)["manifests"]} == {media.OCI_MANIFEST}


def test_the_same_form_changes_nothing(multi: str, registry: FakeRegistry, other: FakeRegistry, copy: Copier) -> None:
    for form in (Form("oci"), Form(compression="none"), Form("oci", "none")):
        copied = copy(multi, f"{other.host}/app:1", form=form)
        assert copied.root.raw == registry.manifests["app", "1"][1] and not copied.dropped


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_layers_get_another_compression_and_keep_their_tar(
    compression: str, multi: str, other: FakeRegistry, copy: Copier, store: Store
) -> None:
    copied = copy(multi, f"{other.host}/app:1", form=Form(compression=compression))  # type: ignore[arg-type]
    assert len(copied.dropped) == 1
    for architecture, tar in (("amd64", ONE), ("arm64", TWO)):
        _, manifest = manifest_of(other, architecture)
        (layer,) = manifest["layers"]  # type: ignore[misc]
        blob = other.blobs["app", layer["digest"]]
        assert layer["mediaType"] == media.layer_media_type("oci", compression)  # type: ignore[arg-type]
        assert detect_format(blob) == compression and b"".join(iter_decompressed([blob])) == tar
    assert store.blobs.size(layer["digest"]) == layer["size"], "it is kept for the next attempt"


def test_only_some_compressions_are_replaced(multi: str, other: FakeRegistry, copy: Copier) -> None:
    copy(multi, f"{other.host}/gzip:1", form=Form(compression="gzip"))
    copied = copy(f"{other.host}/gzip:1", f"{other.host}/same:1", form=Form(compression="zstd", of=("none",)))
    assert other.manifests["same", "1"] == other.manifests["gzip", "1"] and not copied.dropped
    again = copy(f"{other.host}/gzip:1", f"{other.host}/hard:1", form=Form(compression="gzip", level=9, force=True))
    assert again.digest != copied.digest


def test_trap_23_zstd_does_not_get_into_dockers_format(
    multi: str, other: FakeRegistry, copy: Copier, tmp_path: Path
) -> None:
    copy(multi, f"{other.host}/zstd:1", form=Form(compression="zstd"))
    with pytest.raises(UsageError, match="compressed with zstd, which the docker format does not know"):
        copy(f"{other.host}/zstd:1", f"{other.host}/app:1", form=Form("docker"))
    assert ("app", "1") not in other.manifests
    copy(f"{other.host}/zstd:1", f"{other.host}/app:1", form=Form("docker", "gzip"))
    assert manifest_of(other, "arm64")[0] == media.DOCKER_MANIFEST
    copy(f"{other.host}/zstd:1", "docker-archive:a.tar:app:1")
    with tarfile.open(tmp_path / "a.tar") as archive:
        (listed,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert archive.extractfile(listed["Layers"][0]).read(2) == b"\x1f\x8b"  # type: ignore[union-attr]


def test_layers_that_are_damaged_are_not_compressed(
    multi: str, registry: FakeRegistry, other: FakeRegistry, copy: Copier, store: Store
) -> None:
    copy(multi, "oci:layout")
    path = Path(copy.opener.path("layout")) / f"blobs/{digest_of(ONE).replace(':', '/')}"
    path.write_bytes(ONE[:-1] + b"x")
    with pytest.raises(ContextError, match="is damaged"):
        copy("oci:layout", f"{other.host}/app:1", form=Form(compression="zstd"))
    assert not other.manifests and not list(Path(store.layout.root).rglob("blob-*"))


def test_an_artefact_has_no_docker_format(registry: FakeRegistry, other: FakeRegistry, copy: Copier) -> None:
    publish(registry, "app", make_image(ONE), layers=(ONE,), attested=True)
    attested = next(digest for (_, digest), (_, raw) in registry.manifests.items() if b"in-toto" in raw)
    name = f"{registry.host}/app@{attested}"
    copy(name, f"{other.host}/statement:1", selection=Selection(AMD64, "system"))
    assert ("statement", "1") in other.manifests
    with pytest.raises(UsageError, match="has no docker format"):
        copy(name, f"{other.host}/statement:2", form=Form("docker"))

"""Indexes made of what registries have, and what is known of a name there: `buildx imagetools`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from support.stored import make_image, moving

from firkin.errors import RegistryError, UsageError
from firkin.images.attested import Attested
from firkin.images.combining import Combined, combine, place_sources, push_combined, read_source
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.image import Image
from firkin.oci.manifest import Index, Manifest, encode_index, encode_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry

LAYER = b"layer" * 1000
STATEMENT = "application/vnd.in-toto+json"


def serve(registry: FakeRegistry, name: str, architecture: str = "amd64", author: str = "") -> Image:
    image = make_image(LAYER, architecture=architecture, author=author)
    repository, _, tag = name.partition(":")
    for data in (LAYER, image.config.raw):
        registry.add_blob(repository, data)
    registry.add_manifest(repository, tag, image.manifest.media_type, image.manifest.raw)
    return image


def serve_proof(registry: FakeRegistry, repository: str, subject: Image, **predicates: Any) -> Descriptor:
    """Serve an attestation of an image as BuildKit makes it; return its entry of the index."""
    layers = []
    for kind, predicate in predicates.items():
        uri = {"spdx": "https://spdx.dev/Document", "slsa": "https://slsa.dev/provenance/v1"}[kind.rstrip("2")]
        raw = predicate if isinstance(predicate, bytes) else json.dumps({"predicate": predicate}).encode()
        registry.add_blob(repository, raw)
        layers.append(Descriptor(STATEMENT, digest_of(raw), len(raw), annotations=(("in-toto.io/predicate-type", uri),)))
    config = b"{}"
    registry.add_blob(repository, config)
    described = Descriptor(media.OCI_CONFIG, digest_of(config), len(config))
    manifest = encode_manifest(Manifest(media.OCI_MANIFEST, described, tuple(layers)))
    registry.add_manifest(repository, "", manifest.media_type, manifest.raw)
    return msgspec.structs.replace(manifest.descriptor, platform=Platform("unknown", "unknown"), annotations=(
        ("vnd.docker.reference.type", "attestation-manifest"),
        ("vnd.docker.reference.digest", str(subject.manifest.digest)),
    ))  # fmt: skip


def serve_index(registry: FakeRegistry, name: str, *children: Descriptor) -> Index:
    index = encode_index(Index(media.OCI_INDEX, children))
    repository, _, tag = name.partition(":")
    registry.add_manifest(repository, tag, index.media_type, index.raw)
    return index


def entry(image: Image) -> Descriptor:
    return msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform)


def make(store: Store, registry: FakeRegistry, *sources: str, target: str = "app:new", **options: Any) -> Combined:
    name = parse_reference(f"{registry.host}/{target}")
    read = [read_source(text if text[0] == "{" or ("@" not in text and text.startswith("sha256:"))
                        else f"{registry.host}/{text}") for text in sources]  # fmt: skip
    with moving(store) as transfer:
        combined = combine(transfer, place_sources(read, [name]), **options)
        push_combined(transfer, combined, name, lambda text: None)
    kind, raw = registry.manifests[target.partition(":")[0], target.partition(":")[2]]
    assert (kind, raw) == (combined.media_type, combined.raw)
    return combined


def listed(combined: Combined) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(combined.raw)["manifests"]
    return found


def test_images_become_an_index(store: Store, registry: FakeRegistry) -> None:
    images = [serve(registry, f"app:{kind}", kind) for kind in ("amd64", "arm64")]
    combined = make(store, registry, "app:amd64", "app:arm64")
    assert [item["digest"] for item in listed(combined)] == [image.manifest.digest for image in images]
    assert [item["platform"]["architecture"] for item in listed(combined)] == ["amd64", "arm64"]
    assert combined.media_type == media.OCI_INDEX and combined.raw.startswith(b'{\n  "schemaVersion": 2,')


def test_one_index_alone_is_copied_byte_for_byte(store: Store, registry: FakeRegistry) -> None:
    image = serve(registry, "app:amd64")
    raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "unknown": [1], "manifests": [
        {"mediaType": media.OCI_MANIFEST, "digest": image.manifest.digest, "size": len(image.manifest.raw)}]}, indent=7).encode()  # fmt: skip
    registry.add_manifest("app", "1", media.OCI_INDEX, raw)
    assert make(store, registry, "app:1").raw == raw
    copied = make(store, registry, "app:1", target="other:1")
    assert copied.raw == raw and ("other", digest_of(LAYER)) in registry.blobs
    assert ("other", image.manifest.digest) in registry.manifests


def test_one_image_alone_is_wrapped_unless_told_otherwise(store: Store, registry: FakeRegistry) -> None:
    image = serve(registry, "app:amd64")
    assert listed(make(store, registry, "app:amd64"))[0]["digest"] == image.manifest.digest
    assert make(store, registry, "app:amd64", prefer_index=False).raw == image.manifest.raw
    assert make(store, registry, "app:amd64", target="third:1", prefer_index=False).raw == image.manifest.raw
    assert ("third", digest_of(LAYER)) in registry.blobs


def test_the_later_of_two_images_for_one_platform_counts(store: Store, registry: FakeRegistry) -> None:
    old, new, arm64 = serve(registry, "app:old"), serve(registry, "app:b", author="b"), serve(registry, "app:c", "arm64")
    serve_index(registry, "app:1", entry(old), entry(arm64), serve_proof(registry, "app", old, slsa={"a": 1}))
    combined = make(store, registry, "app:1", "app:b")
    assert [item["digest"] for item in listed(combined)] == [arm64.manifest.digest, new.manifest.digest]


def test_platforms_are_kept_with_their_attestations(store: Store, registry: FakeRegistry) -> None:
    amd64, arm64 = serve(registry, "app:a"), serve(registry, "app:b", "arm64")
    proofs = [serve_proof(registry, "app", image, slsa={"a": 1}) for image in (amd64, arm64)]
    serve_index(registry, "app:1", entry(amd64), entry(arm64), *proofs)
    combined = make(store, registry, "app:1", platforms=[Platform("linux", "arm64")], target="other:1")
    assert [item["digest"] for item in listed(combined)] == [arm64.manifest.digest, proofs[1].digest]
    assert ("other", proofs[1].digest) in registry.manifests and ("other", amd64.manifest.digest) not in registry.manifests
    with pytest.raises(UsageError, match="no image is for one of these platforms"):
        make(store, registry, "app:1", platforms=[Platform("linux", "s390x")])


def test_annotations_of_the_index_and_of_its_images(store: Store, registry: FakeRegistry) -> None:
    image = serve(registry, "app:a")
    proof = serve_proof(registry, "app", image, slsa={})
    serve_index(registry, "app:1", entry(image), proof)
    combined = make(store, registry, "app:1", annotations=(("a", "b"),), of_children=(("c", "d"),))
    assert json.loads(combined.raw)["annotations"] == {"a": "b"}
    assert [item.get("annotations", {}).get("c") for item in listed(combined)] == ["d", None]


def test_digests_and_descriptors_are_sources(store: Store, registry: FakeRegistry) -> None:
    image = serve(registry, "app:amd64")
    registry.add_manifest("app", "", image.manifest.media_type, image.manifest.raw)
    digest = image.manifest.digest
    assert listed(make(store, registry, digest))[0]["digest"] == digest
    given = {"digest": digest, "platform": {"os": "linux", "architecture": "arm64"}, "annotations": {"a": "b"}}
    (item,) = listed(make(store, registry, json.dumps(given)))
    assert (item["digest"], item["platform"], item["annotations"]) == (digest, given["platform"], {"a": "b"})
    with pytest.raises(UsageError, match="multiple repositories specified, cannot infer repository"):
        place_sources([read_source(digest)], [parse_reference("a"), parse_reference("b")])
    with pytest.raises(UsageError, match="no repositories specified"):
        place_sources([read_source(digest)], [])


@pytest.mark.parametrize("text", ["{", "{}", '{"digest": 7}', '{"digest": "sha256:abc"}', "[" * 5000, "A B"])
def test_texts_that_are_no_sources(text: str) -> None:
    with pytest.raises(UsageError):
        read_source(text)


def test_between_registries_bytes_pass_through(store: Store, registry: FakeRegistry) -> None:
    with FakeRegistry() as other:
        image = serve(other, "app:amd64")
        name = parse_reference(f"{registry.host}/copy:1")
        with moving(store) as transfer:
            sources = place_sources([read_source(f"{other.host}/app:amd64")], [name])
            push_combined(transfer, combine(transfer, sources), name, lambda text: None)
    assert registry.blobs["copy", digest_of(LAYER)] == LAYER and ("copy", image.manifest.digest) in registry.manifests


# --- inspect ---------------------------------------------------------------------------------------------------------


def look(registry: FakeRegistry, name: str) -> Attested:
    return Attested(RegistryClient(RegistrySettings(retries=0)), parse_reference(f"{registry.host}/{name}"))


def test_attestations_are_no_images(registry: FakeRegistry) -> None:
    amd64, arm64 = serve(registry, "app:a"), serve(registry, "app:b", "arm64")
    proof = serve_proof(registry, "app", amd64, spdx={"s": 1}, spdx2={"s": 2}, slsa={"p": 1})
    index = serve_index(registry, "app:1", entry(amd64), entry(arm64), proof)
    found = look(registry, "app:1")
    assert found.platforms() == ["linux/amd64", "linux/arm64"]
    assert found.manifest()["digest"] == index.digest and len(found.manifest()["manifests"]) == 3
    assert found.sbom("linux/amd64") == {"SPDX": {"s": 1}, "AdditionalSPDXs": [{"s": 2}]}
    assert found.provenance("linux/amd64") == {"SLSA": {"p": 1}}
    assert found.sbom("linux/arm64") == found.provenance("linux/arm64") == {}
    assert found.config("linux/arm64")["architecture"] == "arm64"


def test_a_manifest_alone(registry: FakeRegistry) -> None:
    image = serve(registry, "app:1")
    found = look(registry, "app:1")
    assert found.platforms() == ["linux/amd64"] and found.children == []
    assert found.manifest()["digest"] == image.manifest.digest


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"x"', b"[" * 5000])
def test_an_attestation_that_is_none(registry: FakeRegistry, raw: bytes) -> None:
    image = serve(registry, "app:a")
    serve_index(registry, "app:1", entry(image), serve_proof(registry, "app", image, slsa=raw))
    with pytest.raises(RegistryError, match=r"is no statement of in-toto"):
        look(registry, "app:1").provenance("linux/amd64")

"""The document of an image is that of docker's Engine 28, and its history has the sizes of unpacked layers."""

from __future__ import annotations

import io
import json
import tarfile

import msgspec
import pytest
from support.stored import keep, keep_index

from firkin.errors import StoreError
from firkin.images.find import find_image
from firkin.images.history import image_history
from firkin.images.inspect import inspect_image
from firkin.linux.machine import this_platform
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Image, Layer, assemble
from firkin.oci.manifest import Index, encode_index
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.facts import ATTESTATION
from firkin.store.store import Store


def layer(size: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = size
        tar.addfile(member, io.BytesIO(b"x" * size))
    return out.getvalue()


def put(store: Store, name: str, fields: dict[str, object], *sizes: int) -> Image:
    """Put an image with layers of one file each under a name."""
    blobs = [layer(size) for size in sizes]
    digests = [digest_of(blob) for blob in blobs]
    raw = json.dumps({"architecture": "amd64", "os": "linux", **fields, "rootfs": {"type": "layers", "diff_ids": digests}})
    layers = tuple(
        Layer(DiffID(digest), Descriptor(media.OCI_LAYER, digest, len(blob)))
        for digest, blob in zip(digests, blobs, strict=True)
    )
    image = assemble(parse_config(raw.encode()), layers, "oci")
    for document in (*blobs, image.config.raw, image.manifest.raw):
        store.blobs.put(document)
    store.images.tag(image.manifest.descriptor, (parse_reference(name),), pinned=True)
    return image


def inspected(store: Store, name: str, platform: Platform | None = None) -> dict[str, object]:
    document = inspect_image(store, find_image(store, name, platform))
    assert msgspec.json.decode(msgspec.json.encode(document)) == document
    return document


def test_what_is_empty_is_null_as_in_engine_28(store: Store) -> None:
    image = put(store, "app:1", {})
    document = inspected(store, "app:1")
    assert document == {
        "Id": image.config.digest, "RepoTags": ["app:1"], "RepoDigests": [f"app@{image.manifest.digest}"],
        "Parent": "", "Comment": "", "DockerVersion": "", "Author": "",
        "Config": {
            "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False,
            "AttachStderr": False, "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None,
            "Image": "", "Volumes": None, "WorkingDir": "", "Entrypoint": None, "OnBuild": None, "Labels": None,
        },
        "Architecture": "amd64", "Os": "linux", "Size": 0, "GraphDriver": {"Data": None, "Name": "firkin"},
        "RootFS": {"Type": "layers"}, "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": {
            "mediaType": media.OCI_MANIFEST, "digest": image.manifest.digest, "size": len(image.manifest.raw),
        },
        "Manifests": document["Manifests"],
    }  # fmt: skip
    assert list(document)[:6] == ["Id", "RepoTags", "RepoDigests", "Parent", "Comment", "DockerVersion"]


def test_what_a_configuration_says_is_there(store: Store) -> None:
    config = {
        "User": "u", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=b"], "Entrypoint": [], "Cmd": ["c"],
        "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": {}, "StopSignal": "TERM", "ArgsEscaped": True,
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}, "OnBuild": ["RUN x"], "Shell": ["/bin/sh"],
        "Hostname": "h", "Image": "sha256:x", "AttachStdin": True,
    }  # fmt: skip
    put(store, "app:1", {
        "created": "2024-01-02T03:04:05.678Z", "author": "me", "docker_version": "20", "variant": "v2", "os.version": "10",
        "config": config, "history": [{"created_by": "a"}, {"created_by": "b", "comment": "last", "empty_layer": True}],
    }, 700)  # fmt: skip
    document = inspected(store, "app:1")
    shown = document["Config"]
    assert isinstance(shown, dict)
    assert {name: shown[name] for name in config} == config
    expected = {
        "Created": "2024-01-02T03:04:05.678Z", "Author": "me", "DockerVersion": "20", "Variant": "v2", "OsVersion": "10",
        "Comment": "last", "Size": 700,
    }  # fmt: skip
    assert {name: document[name] for name in expected} == expected


def test_a_layer_that_is_there_twice_counts_twice_and_without_layers_nothing_fails(store: Store) -> None:
    """Trap 20."""
    put(store, "twice:1", {"history": [{}, {}]}, 50, 50)
    document = inspected(store, "twice:1")
    assert document["Size"] == 100 and len(document["RootFS"]["Layers"]) == 2  # type: ignore[index]
    put(store, "none:1", {"history": [{"empty_layer": True}]})
    assert inspected(store, "none:1")["Size"] == 0


def test_the_digests_of_an_index_and_of_its_manifests_are_both_told(store: Store) -> None:
    """Trap 7: RepoDigests has what a name can be pinned to, Manifests what each platform has."""
    here = this_platform().architecture
    images = [keep(store, architecture=name) for name in (here, "s390x")]
    absent = Descriptor(media.OCI_MANIFEST, digest_of(b"absent"), 6, Platform("linux", "riscv64"))
    statement = Descriptor(
        media.OCI_MANIFEST, digest_of(b"statement"), 9, Platform("unknown", "unknown"),
        ((ATTESTATION, "attestation-manifest"), ("vnd.docker.reference.digest", images[0].manifest.digest)),
    )  # fmt: skip
    children = [msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform) for image in images]
    index = encode_index(Index(media.OCI_INDEX, (*children, absent, statement)))
    store.blobs.put(index.raw)
    store.images.tag(index.descriptor, (parse_reference("r.io/app:1"),), pinned=True)
    document = inspected(store, "r.io/app:1")
    assert document["Id"] == images[0].config.digest
    assert document["RepoDigests"] == [f"r.io/app@{index.digest}"]
    assert document["Descriptor"]["digest"] == index.digest  # type: ignore[index]
    parts = document["Manifests"]
    assert isinstance(parts, list)
    assert [(part["ID"], part["Kind"], part["Available"]) for part in parts] == [
        (images[0].manifest.digest, "image", True), (images[1].manifest.digest, "image", True),
        (absent.digest, "image", False), (statement.digest, "attestation", False),
    ]  # fmt: skip
    assert parts[3]["AttestationData"] == {"For": images[0].manifest.digest}
    assert parts[1]["ImageData"]["Platform"] == {"architecture": "s390x", "os": "linux"}
    assert inspected(store, "r.io/app:1", Platform("linux", "s390x"))["Architecture"] == "s390x"
    assert inspected(store, str(keep_index(store, "other:1", images[1]).digest))["Id"] == images[1].config.digest


def test_steps_have_the_sizes_of_their_layers(store: Store) -> None:
    put(store, "app:1", {
        "history": [{"created_by": "one"}, {"created_by": "env", "empty_layer": True}, {"created_by": "two"}],
    }, 10, 20)  # fmt: skip
    steps = image_history(store, find_image(store, "app:1").image)
    assert [(step.line.created_by, step.size_bytes) for step in steps] == [("two", 20), ("env", 0), ("one", 10)]


def test_a_history_with_more_layers_than_there_are_is_damaged(store: Store) -> None:
    image = put(store, "app:1", {}, 10)
    lines = parse_config(b'{"history":[{},{}]}').history
    with pytest.raises(StoreError, match="more steps with a layer"):
        image_history(store, msgspec.structs.replace(image, config=msgspec.structs.replace(image.config, history=lines)))

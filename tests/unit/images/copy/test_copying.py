"""What a copy sends, in which order, and what it leaves as it was."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.copies import AMD64, STATEMENT, Copier, index_of, publish
from support.stored import keep, keep_index, make_image, size_without_reading

from firkin.errors import Cancelled, ContextError, FirkinError, RegistryError, UsageError
from firkin.images.copy.plan import Selection
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of, parse_digest
from firkin.oci.manifest import encode_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry


def layer_of(content: bytes) -> bytes:
    """Return the tar of one file."""
    with io.BytesIO() as raw:
        with tarfile.open(fileobj=raw, mode="w") as archive:
            member = tarfile.TarInfo("file")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        return raw.getvalue()


ONE, TWO = layer_of(os.urandom(3_000_000)), layer_of(b"two" * 10_000)
ARM64 = Platform("linux", "arm64")


def puts(registry: FakeRegistry) -> list[str]:
    """Return what was put, without the numbers of uploads."""
    paths = [seen.path.partition("/v2/")[2] for seen in registry.requests("PUT")]
    return [path if "/manifests/" in path else "blob" for path in paths]


def test_an_image_arrives_byte_for_byte_and_its_name_last(
    registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    image = make_image(ONE, TWO)
    name = publish(registry, "app", image, layers=(ONE, TWO))
    copied = copy(name, f"{other.host}/there/app:2")
    assert copied.digest == copied.origin.digest == image.manifest.digest
    assert other.manifests["there/app", "2"] == (image.manifest.media_type, image.manifest.raw)
    assert {data for (repository, _), data in other.blobs.items() if repository == "there/app"} == {
        ONE, TWO, image.config.raw,
    }  # fmt: skip
    assert puts(other) == ["blob"] * 3 + ["there/app/manifests/2"]
    assert copy.heard.moved[digest_of(ONE)] == len(ONE)
    assert len(registry.requests("GET", digest_of(ONE))) == 1, "a blob is read once"


def test_trap_24_an_index_is_copied_as_a_whole_with_its_attestations(
    registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    images = [make_image(data, architecture=kind) for data, kind in ((ONE, "amd64"), (TWO, "arm64"))]
    name = publish(registry, "app", *images, layers=(ONE, TWO), attested=True)
    copied = copy(name, f"{other.host}/app:1")
    assert other.manifests["app", "1"] == registry.manifests["app", "1"]
    assert {key for key in registry.manifests if key[0] == "app"} <= set(other.manifests)
    assert STATEMENT in other.blobs.values()
    assert puts(other)[-1] == "app/manifests/1" and copied.left_out == copied.dropped == ()


def test_one_platform_is_a_manifest_and_several_are_an_index_with_their_attestations(
    registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    kinds = ("amd64", "arm64", "s390x")
    images = [make_image(ONE, architecture=kind) for kind in kinds]
    name = publish(registry, "app", *images, layers=(ONE,), attested=True)
    target = f"{other.host}/app:1"
    assert copy(name, target, selection=Selection(AMD64, platforms=(ARM64,))).digest == images[1].manifest.digest
    assert copy(name, target, selection=Selection(AMD64, "system")).digest == images[0].manifest.digest
    copied = copy(name, target, selection=Selection(AMD64, platforms=(AMD64, ARM64)))
    listed = json.loads(copied.root.raw)["manifests"]
    assert [item["platform"]["architecture"] for item in listed] == ["amd64", "arm64", "unknown"]
    with pytest.raises(UsageError, match="no image for linux/riscv64") as caught:
        copy(name, target, selection=Selection(AMD64, platforms=(Platform("linux", "riscv64"),)))
    assert caught.value.hints == ("there is: linux/amd64, linux/arm64, linux/s390x",)


def test_only_the_index_goes_when_asked(registry: FakeRegistry, other: FakeRegistry, copy: Copier) -> None:
    name = publish(registry, "app", make_image(ONE), make_image(TWO, architecture="arm64"), layers=(ONE, TWO))
    copy(name, f"{other.host}/app:1", selection=Selection(AMD64, "index-only"))
    assert puts(other) == ["app/manifests/1"]


def test_a_copy_that_was_interrupted_sends_what_is_missing(
    registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    image = make_image(ONE, TWO)
    name = publish(registry, "app", image, layers=(ONE, TWO))
    registry.fail("GET", digest_of(ONE), status=404)
    with pytest.raises(RegistryError):
        copy(name, f"{other.host}/app:1")
    assert ("app", "1") not in other.manifests
    copy(name, f"{other.host}/app:1")
    sent = [seen for seen in other.requests("PUT") if "/blobs/" in seen.path]
    assert len(sent) == 3, "each blob arrived once"
    other.seen.clear()
    copy(name, f"{other.host}/app:1")
    assert puts(other) == [] and {seen.method for seen in other.seen} == {"HEAD"}


def test_a_download_that_breaks_goes_on_where_it_stopped(
    registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    registry.fail("GET", digest_of(ONE), cut=2_000_000)
    copy(name, f"{other.host}/app:1")
    first, second = registry.requests("GET", digest_of(ONE))
    assert "range" not in first.headers and second.headers["range"] == "bytes=2000000-"
    assert len([seen for seen in other.requests("PUT") if "/blobs/" in seen.path]) == 2


def test_an_upload_that_breaks_goes_on_where_it_stopped(
    registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    other.fail("PUT", "/blobs/uploads/", cut=2_000_000)
    other.fail("PUT", "/blobs/uploads/", cut=2_000_000)
    copy(name, f"{other.host}/app:1")
    assert other.blobs["app", digest_of(ONE)] == ONE


def test_trap_34_blobs_are_mounted_within_a_registry_and_sent_when_it_refuses(
    registry: FakeRegistry, copy: Copier
) -> None:
    name = publish(registry, "first", make_image(ONE), make_image(TWO, architecture="arm64"), layers=(ONE, TWO))
    copy(name, f"{registry.host}/second:1")
    assert set(copy.heard.outcomes.values()) == {"mounted"} and not copy.heard.moved
    registry.fail("POST", "mount=", times=2, status=202, headers=(("Location", "/v2/third/blobs/uploads/1"),))
    registry.quirks = type(registry.quirks)(mount=403)
    copy(name, f"{registry.host}/third:1")
    assert registry.blobs["third", digest_of(ONE)] == ONE
    assert registry.manifests["third", "1"] == registry.manifests["first", "1"]


def test_a_registry_that_sends_wrong_bytes_names_nothing(
    registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    registry.fail("GET", digest_of(ONE), times=9, corrupt=True)
    with pytest.raises(RegistryError, match="has digest"):
        copy(name, f"{other.host}/app:1")
    assert not other.manifests and ("app", digest_of(ONE)) not in other.blobs


def test_a_copy_that_is_stopped_names_nothing(registry: FakeRegistry, other: FakeRegistry, copy: Copier) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    copy.cancel.set()
    with pytest.raises(Cancelled):
        copy(name, f"{other.host}/app:1")
    assert not other.manifests


def test_further_names_mean_the_same(registry: FakeRegistry, other: FakeRegistry, copy: Copier) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    copy(name, f"{other.host}/app:1", tags=(parse_reference(f"{other.host}/app:2"),))
    assert other.manifests["app", "1"] == other.manifests["app", "2"]


def test_a_target_with_a_digest_takes_nothing_else(registry: FakeRegistry, other: FakeRegistry, copy: Copier) -> None:
    image = make_image(ONE)
    name = publish(registry, "app", image, layers=(ONE,))
    with pytest.raises(UsageError, match="is to have the digest"):
        copy(name, f"{other.host}/app@{digest_of(TWO)}")
    assert not other.blobs
    copy(name, f"{other.host}/app@{image.manifest.digest}")
    assert ("app", image.manifest.digest) in other.manifests


@pytest.mark.parametrize("between", ["oci:layout:app:1", "oci-archive:o.tar:app:1", "dir:directory", "store:app:1"])
def test_an_index_survives_every_place_that_can_hold_one(
    between: str, registry: FakeRegistry, other: FakeRegistry, copy: Copier
) -> None:
    images = [make_image(data, architecture=kind) for data, kind in ((ONE, "amd64"), (TWO, "arm64"))]
    name = publish(registry, "app", *images, layers=(ONE, TWO), attested=True)
    copy(name, between, exact=True)
    copied = copy(between, f"{other.host}/app:1", exact=True)
    assert other.manifests["app", "1"] == registry.manifests["app", "1"] and not copied.left_out
    assert set(other.blobs.values()) == set(registry.blobs.values())


def test_a_docker_archive_holds_the_image_of_this_machine(
    registry: FakeRegistry, other: FakeRegistry, copy: Copier, tmp_path: Path
) -> None:
    images = [make_image(data, architecture=kind) for data, kind in ((ONE, "amd64"), (TWO, "arm64"))]
    name = publish(registry, "app", *images, layers=(ONE, TWO))
    copied = copy(name, "docker-archive:a.tar:app:1", tags=(parse_reference("app:2"),))
    assert copied.digest == images[0].manifest.digest
    with tarfile.open(tmp_path / "a.tar") as archive:
        (listed,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert listed["RepoTags"] == ["app:1", "app:2"] and len(listed["Layers"]) == 1
    for choice in ("", ":app:2", ":@0"):
        assert copy(f"docker-archive:a.tar{choice}", "oci:layout", exact=True).digest == copied.digest
    with pytest.raises(UsageError, match="has no image `app:3`"):
        copy("docker-archive:a.tar:app:3", "oci:layout")


def test_trap_25_a_docker_archive_cannot_keep_digests(registry: FakeRegistry, copy: Copier, tmp_path: Path) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    with pytest.raises(UsageError, match="does not keep the digest"):
        copy(name, "docker-archive:a.tar", exact=True)
    assert not registry.seen and not (tmp_path / "a.tar").exists()


def test_what_the_store_does_not_have_is_left_out_of_the_index(
    store: Store, other: FakeRegistry, copy: Copier
) -> None:
    images = [keep(store, layers=(data,), architecture=kind) for data, kind in ((ONE, "amd64"), (TWO, "arm64"))]
    index = keep_index(store, "app:1", *images)
    os.unlink(store.blobs.path(images[1].manifest.digest))
    copied = copy("store:app:1", f"{other.host}/app:1")
    assert [item.digest for item in copied.left_out] == [images[1].manifest.digest]
    assert [item["digest"] for item in json.loads(copied.root.raw)["manifests"]] == [images[0].manifest.digest]
    assert copied.origin.digest != index.digest
    with pytest.raises(UsageError, match="its digest cannot stay"):
        copy("store:app:1", f"{other.host}/app:1", exact=True)


def test_a_failed_copy_leaves_no_file(registry: FakeRegistry, copy: Copier, tmp_path: Path) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    before = set(tmp_path.iterdir())
    registry.fail("GET", digest_of(ONE), times=9, status=404)
    for target in ("docker-archive:a.tar", "oci-archive:a.tar"):
        with pytest.raises(RegistryError):
            copy(name, target)
        assert set(tmp_path.iterdir()) == before


def test_a_layout_keeps_its_other_images(registry: FakeRegistry, copy: Copier, tmp_path: Path) -> None:
    first, second = make_image(ONE), make_image(TWO)
    names = [publish(registry, f"app{number}", image, layers=(data,))
             for number, (image, data) in enumerate(((first, ONE), (second, TWO)))]  # fmt: skip
    copy(names[0], "oci:layout:a")
    copy(names[1], "oci:layout:reg.example/b:1")
    assert copy("oci:layout:a", "oci:elsewhere").digest == first.manifest.digest
    assert copy("oci:layout:reg.example/b:1", "oci:elsewhere").digest == second.manifest.digest
    with pytest.raises(UsageError, match="holds 2 images"):
        copy("oci:layout", "oci:elsewhere")
    with pytest.raises(UsageError, match="has no image `c`") as caught:
        copy("oci:layout:c", "oci:elsewhere")
    assert caught.value.hints == ("it has: a, reg.example/b:1",)
    copy(names[1], "oci:layout:a")
    assert copy("oci:layout:a", "oci:elsewhere").digest == second.manifest.digest
    assert len(json.loads((tmp_path / "layout/index.json").read_text())["manifests"]) == 2


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.truncate(path, 1 << 40)], ids=["pipe", "endless"])
def test_a_target_whose_list_is_no_document_is_refused_at_once(
    registry: FakeRegistry, copy: Copier, tmp_path: Path, make: Callable[[str], None]
) -> None:
    path = tmp_path / "layout/index.json"
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    copy(name, "oci:layout:a")
    if make is os.mkfifo:
        path.unlink()
    make(str(path))
    with pytest.raises(FirkinError, match="layout: "):
        copy(name, "oci:layout:b")


def test_a_damaged_blob_of_a_layout_goes_nowhere(registry: FakeRegistry, other: FakeRegistry, copy: Copier,
                                                 tmp_path: Path) -> None:  # fmt: skip
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    copy(name, "oci:layout:a")
    path = tmp_path / "layout" / f"blobs/{digest_of(ONE).replace(':', '/')}"
    for damaged in (ONE[:-1] + bytes([ONE[-1] ^ 1]), ONE[:-5], ONE + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(ContextError, match="is damaged: it has"):
            copy("oci:layout:a", f"{other.host}/app:1")
    path.unlink()
    with pytest.raises(UsageError, match="lacks the blob"):
        copy("oci:layout:a", f"{other.host}/app:1")
    assert not other.manifests and ("app", digest_of(ONE)) not in other.blobs


def test_an_index_that_lists_itself_over_and_over_ends(registry: FakeRegistry, other: FakeRegistry, copy: Copier) -> None:
    index = index_of(make_image(ONE))
    for _ in range(12):
        registry.add_manifest("app", "1", index.media_type, index.raw)
        index = index_of(more=(index.descriptor,))
    registry.add_manifest("app", "1", index.media_type, index.raw)
    with pytest.raises(UsageError, match="more than 8 deep"):
        copy(f"{registry.host}/app:1", f"{other.host}/app:1")


def test_an_attestation_of_what_is_absent_is_left_out(registry: FakeRegistry, copy: Copier, tmp_path: Path) -> None:
    images = [make_image(data, architecture=kind) for data, kind in ((TWO, "arm64"), (ONE, "amd64"))]
    name = publish(registry, "app", *images, layers=(ONE, TWO), attested=True)
    copy(name, "oci:layout")
    (tmp_path / "layout" / f"blobs/{images[0].manifest.digest.replace(':', '/')}").unlink()
    copied = copy("oci:layout", "oci:elsewhere")
    assert [item["digest"] for item in json.loads(copied.root.raw)["manifests"]] == [images[1].manifest.digest]
    stored = {path.name for path in (tmp_path / "elsewhere/blobs/sha256").iterdir()}
    assert digest_of(STATEMENT).partition(":")[2] not in stored


def test_a_layer_that_unpacks_to_something_else_does_not_enter_the_store(
    registry: FakeRegistry, store: Store, copy: Copier
) -> None:
    image = make_image(ONE)
    packed = gzip.compress(TWO, mtime=0)
    layer = Descriptor(media.layer_media_type("oci", "gzip"), digest_of(packed), len(packed))
    manifest = encode_manifest(msgspec.structs.replace(image.manifest, layers=(layer,)))
    name = publish(registry, "app", msgspec.structs.replace(image, manifest=manifest), layers=(packed,))
    with pytest.raises(ContextError, match="unpacks to"):
        copy(name, "store:app:1")
    assert store.blobs.size(layer.digest) is None and not store.images.entries()


def test_a_directory_that_holds_something_else_is_left_as_it_is(
    registry: FakeRegistry, store: Store, copy: Copier, tmp_path: Path
) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("x")
    for place in ("dir:mine", "dir:store"):  # the store has a file `version`, too
        before = sorted(path.name for path in (tmp_path / place[4:]).iterdir())
        with pytest.raises(UsageError, match="holds something else than an image"):
            copy(name, place)
        assert sorted(path.name for path in (tmp_path / place[4:]).iterdir()) == before
    copy(name, "dir:image")
    copy(name, "dir:image")


def test_blobs_with_other_digests_have_their_place(registry: FakeRegistry, copy: Copier) -> None:
    image = make_image(ONE)
    digest = parse_digest(f"sha512:{hashlib.sha512(ONE).hexdigest()}")
    layer = msgspec.structs.replace(image.manifest.layers[0], digest=digest)
    manifest = encode_manifest(msgspec.structs.replace(image.manifest, layers=(layer,)))
    name = publish(registry, "app", msgspec.structs.replace(image, manifest=manifest))
    registry.blobs["app", digest] = ONE
    for place in ("oci:layout", "dir:directory", "oci-archive:o.tar"):
        copy(name, place)
        assert copy(place, "oci:again").digest == manifest.digest


def test_no_layer_is_read_again_to_list_what_was_copied_to_the_store(
    registry: FakeRegistry, store: Store, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = publish(registry, "app", make_image(ONE, TWO), layers=(ONE, TWO))
    copy(name, "store:app:1")
    assert size_without_reading(store, "app:1", monkeypatch) == 3_030_000

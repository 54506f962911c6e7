"""Lists of manifests: created from registry and store, changed, pushed with what their repository lacks, removed."""

from __future__ import annotations

import json

import pytest
from support.stored import drop, keep, keep_index, make_image, moving

from firkin.errors import RegistryError, StoreError, UsageError
from firkin.images.describing import describe_entry, describe_manifest
from firkin.images.joining import annotate_list, create_list, push_list
from firkin.images.manifest_lists import KIND, EntryPlatform, ManifestList, read_list, remove_list, write_list
from firkin.oci import media
from firkin.oci.digest import digest_of
from firkin.oci.image import Image
from firkin.oci.reference import Reference, parse_reference
from firkin.store.gc import prune
from firkin.store.references import StoreReference, register, registered
from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry

ONE, TWO = b"one" * 10_000, b"two" * 10_000


def serve(registry: FakeRegistry, name: str, image: Image, *layers: bytes) -> Image:
    repository, _, tag = name.partition(":")
    for data in (*layers, image.config.raw):
        registry.add_blob(repository, data)
    registry.add_manifest(repository, tag, image.manifest.media_type, image.manifest.raw)
    return image


def create(
    store: Store, registry: FakeRegistry, name: str, *sources: str, amend: bool = False, warnings: list[str] | None = None
) -> ManifestList:
    told = warnings if warnings is not None else []
    names = [named(registry, text) for text in (name, *sources)]
    with moving(store) as transfer:
        return create_list(transfer, names[0], names[1:], lambda code, text: told.append(code), amend=amend)


def push(store: Store, registry: FakeRegistry, name: str, *, purge: bool = False) -> tuple[str, list[str]]:
    said: list[str] = []
    with moving(store) as transfer:
        digest = push_list(transfer, named(registry, name), lambda ref: said.append(str(ref)), purge=purge)
    return digest, said


def named(registry: FakeRegistry, text: str) -> Reference:
    return parse_reference(f"{registry.host}/{text}")


def two(registry: FakeRegistry) -> list[Image]:
    return [serve(registry, f"app:{kind}", make_image(ONE, architecture=kind), ONE) for kind in ("amd64", "arm64")]


def test_a_list_is_kept_and_pushed(store: Store, registry: FakeRegistry) -> None:
    images = two(registry)
    made = create(store, registry, "app:1", "app:arm64", "app:amd64")
    assert [entry.platform.architecture for entry in made.entries] == ["amd64", "arm64"]  # sorted as docker sorts
    assert read_list(store, named(registry, "app:1")) == made and ("app", "1") not in registry.manifests
    digest, said = push(store, registry, "app:1")
    kind, raw = registry.manifests["app", "1"]
    assert (kind, digest_of(raw)) == (media.OCI_INDEX, digest) and raw == made.index.raw
    assert [entry["digest"] for entry in json.loads(raw)["manifests"]] == [image.manifest.digest for image in images]
    assert said == [f"{registry.host}/app@{image.manifest.digest}" for image in images]
    assert read_list(store, named(registry, "app:1")) is not None
    push(store, registry, "app:1", purge=True)
    assert read_list(store, named(registry, "app:1")) is None


def test_the_document_is_byte_for_byte_what_docker_writes(store: Store, registry: FakeRegistry) -> None:
    image = serve(registry, "app:amd64", make_image(ONE), ONE)
    made = create(store, registry, "app:1", "app:amd64")
    assert made.index.raw.decode() == (
        '{\n   "schemaVersion": 2,\n   "mediaType": "application/vnd.oci.image.index.v1+json",\n   "manifests": [\n'
        '      {\n         "mediaType": "application/vnd.oci.image.manifest.v1+json",\n'
        f'         "size": {len(image.manifest.raw)},\n         "digest": "{image.manifest.digest}",\n'
        '         "platform": {\n            "architecture": "amd64",\n            "os": "linux"\n         }\n      }\n'
        "   ]\n}"
    )


def test_an_existing_list_is_changed_only_if_asked(store: Store, registry: FakeRegistry) -> None:
    two(registry)
    create(store, registry, "app:1", "app:amd64")
    with pytest.raises(UsageError, match="refusing to amend an existing manifest list with no --amend flag"):
        create(store, registry, "app:1", "app:arm64")
    assert len(create(store, registry, "app:1", "app:arm64", amend=True).entries) == 2
    assert len(create(store, registry, "app:1", "app:arm64", amend=True).entries) == 2


def test_trap_33_a_local_image_is_taken_and_pushed_first(store: Store, registry: FakeRegistry) -> None:
    two(registry)
    local = keep(store, f"{registry.host}/app:s390x", layers=(TWO,), architecture="s390x")
    made = create(store, registry, "app:1", "app:amd64", "app:s390x")
    assert [entry.local for entry in made.entries] == [False, True]
    drop(store, f"{registry.host}/app:s390x")
    prune(store, now=5000.0)  # the list holds what it needs
    registry.seen.clear()
    push(store, registry, "app:1")
    puts = [seen.path.partition("?")[0].rpartition("/")[2] for seen in registry.requests("PUT")]
    assert puts.index(local.manifest.digest) < puts.index("1")
    assert ("app", local.layers[0].descriptor.digest) in registry.blobs
    assert ("app", local.config.digest) in registry.blobs


def test_a_local_image_of_another_name_and_an_index(store: Store, registry: FakeRegistry) -> None:
    images = [keep(store, layers=(data,), architecture=kind) for kind, data in (("amd64", ONE), ("arm64", TWO))]
    keep_index(store, f"{registry.host}/elsewhere:1", *images)
    made = create(store, registry, "app:1", "elsewhere:1")
    assert {(entry.local, entry.platform.architecture) for entry in made.entries} == {(True, "amd64"), (True, "arm64")}
    push(store, registry, "app:1")
    assert all(("app", image.layers[0].descriptor.digest) in registry.blobs for image in images)


def test_the_registry_counts_when_the_store_differs(store: Store, registry: FakeRegistry) -> None:
    (amd64, _) = two(registry)
    keep(store, f"{registry.host}/app:amd64", layers=(TWO,))
    warnings: list[str] = []
    made = create(store, registry, "app:1", "app:amd64", warnings=warnings)
    assert made.entries[0].digest == amd64.manifest.digest and warnings == ["manifest-differs"]


def test_an_image_that_nobody_has(store: Store, registry: FakeRegistry) -> None:
    with pytest.raises(RegistryError, match=r"no such manifest: .*/app:none"):
        create(store, registry, "app:1", "app:none")
    assert read_list(store, named(registry, "app:1")) is None


def test_a_registry_that_is_away(store: Store, registry: FakeRegistry) -> None:
    registry.fail("GET", "/manifests/", status=503, times=2)
    with pytest.raises(RegistryError, match="503"):
        create(store, registry, "app:1", "app:amd64")
    keep(store, f"{registry.host}/app:amd64", layers=(ONE,))
    assert create(store, registry, "app:1", "app:amd64").entries[0].local


def test_an_index_counts_for_all_of_its_images(store: Store, registry: FakeRegistry) -> None:
    two(registry)
    create(store, registry, "app:1", "app:amd64", "app:arm64")
    push(store, registry, "app:1")
    serve(registry, "app:s390x", make_image(ONE, architecture="s390x"), ONE)
    made = create(store, registry, "app:2", "app:1", "app:s390x")
    assert sorted(entry.platform.architecture for entry in made.entries) == ["amd64", "arm64", "s390x"]


def test_images_of_another_repository_are_mounted_else_sent(store: Store, registry: FakeRegistry) -> None:
    image = serve(registry, "other:amd64", make_image(ONE), ONE)
    digest = image.layers[0].descriptor.digest
    create(store, registry, "app:1", "other:amd64")
    push(store, registry, "app:1")
    assert ("app", digest) in registry.blobs and not registry.requests("PUT", "/blobs/")
    create(store, registry, "third:1", "other:amd64")
    registry.fail("POST", "/blobs/uploads/?mount=", status=405, times=2)
    push(store, registry, "third:1")
    assert registry.blobs["third", digest] == ONE and len(registry.requests("PUT", "/blobs/")) == 2


def test_images_of_another_registry_are_refused(store: Store, registry: FakeRegistry) -> None:
    with FakeRegistry() as other:
        serve(other, "app:amd64", make_image(ONE), ONE)
        with moving(store) as transfer:
            create_list(transfer, named(registry, "app:1"), [named(other, "app:amd64")], lambda code, text: None)
        with pytest.raises(UsageError, match="cannot use source images from a different registry than the target"):
            push(store, registry, "app:1")


def test_platforms_are_annotated_and_needed(store: Store, registry: FakeRegistry) -> None:
    two(registry)
    create(store, registry, "app:1", "app:amd64", "app:arm64")
    name, image = named(registry, "app:1"), named(registry, "app:arm64")
    annotate_list(store, name, image, EntryPlatform(variant="v8", os_version="10.0", os_features=("a", "b")))
    raw = read_list(store, name).index.raw  # type: ignore[union-attr]
    assert json.loads(raw)["manifests"][1]["platform"] == {
        "architecture": "arm64", "os": "linux", "os.version": "10.0", "os.features": ["a", "b"], "variant": "v8"}  # fmt: skip
    for list_name, other in (("app:1", "app:none"), ("app:2", "app:arm64")):
        with pytest.raises(UsageError, match=f"manifest for image .*{other} does not exist in .*{list_name}"):
            annotate_list(store, named(registry, list_name), named(registry, other), EntryPlatform(os="linux"))
    serve(registry, "app:none", make_image(ONE, architecture=""), ONE)
    create(store, registry, "app:3", "app:none")
    with pytest.raises(UsageError, match="must have an OS and Architecture to be pushed to a registry"):
        push(store, registry, "app:3")


def test_a_list_that_is_not_there(store: Store, registry: FakeRegistry) -> None:
    with pytest.raises(UsageError, match=r"No such manifest: .*/app:1"):
        push(store, registry, "app:1")
    assert not remove_list(store, named(registry, "app:1"))


def test_removed_lists_hold_nothing(store: Store, registry: FakeRegistry) -> None:
    two(registry)
    create(store, registry, "app:1", "app:amd64")
    assert [reference.kind for reference in registered(store)] == [KIND]
    assert remove_list(store, named(registry, "app:1")) and list(registered(store)) == []


@pytest.mark.parametrize("text", [b"{", b'{"name":"x","version":99}', b"[]"])
def test_a_damaged_list_is_told(store: Store, registry: FakeRegistry, text: bytes) -> None:
    name = named(registry, "app:1")
    register(store, StoreReference(KIND, str(name), (), (store.blobs.put(text),)))
    with pytest.raises(StoreError, match=r"manifest list .* is damaged"):
        read_list(store, name)
    assert remove_list(store, name)
    write_list(store, ManifestList(str(name)))
    assert read_list(store, name) == ManifestList(str(name))


# --- inspect ---------------------------------------------------------------------------------------------------------


def describe(store: Store, registry: FakeRegistry, *names: str, verbose: bool = False) -> str:
    with moving(store) as transfer:
        if len(names) == 2:
            return describe_entry(transfer, named(registry, names[0]), named(registry, names[1]), verbose=verbose)
        return describe_manifest(transfer, named(registry, names[0]), verbose=verbose)


def test_inspect_looks_for_a_list_then_in_the_registry(store: Store, registry: FakeRegistry) -> None:
    (amd64, _) = two(registry)
    made = create(store, registry, "app:1", "app:amd64", "app:arm64")
    assert describe(store, registry, "app:1") == made.index.raw.decode()
    push(store, registry, "app:1", purge=True)
    assert describe(store, registry, "app:1") == made.index.raw.decode()
    one = describe(store, registry, "app:amd64")
    assert json.loads(one) == json.loads(amd64.manifest.raw) and '\n\t"config": {\n\t\t"mediaType"' in one
    with pytest.raises(RegistryError, match="no such manifest: "):
        describe(store, registry, "app:none")


def test_inspect_tells_more(store: Store, registry: FakeRegistry) -> None:
    (amd64, _) = two(registry)
    create(store, registry, "app:1", "app:amd64", "app:arm64")
    first, second = json.loads(describe(store, registry, "app:1", verbose=True))
    assert list(first) == ["Ref", "Descriptor", "Raw", "OCIManifest"]
    assert first["Ref"] == f"{registry.host}/app:amd64" and second["Descriptor"]["platform"]["architecture"] == "arm64"
    assert first["OCIManifest"] == json.loads(amd64.manifest.raw)
    alone = json.loads(describe(store, registry, "app:amd64", verbose=True))
    assert alone == first == json.loads(describe(store, registry, "app:1", "app:amd64", verbose=True))
    assert json.loads(describe(store, registry, "app:1", "app:amd64")) == json.loads(amd64.manifest.raw)
    push(store, registry, "app:1", purge=True)
    first, _ = json.loads(describe(store, registry, "app:1", verbose=True))
    assert first["Ref"] == f"{registry.host}/app:1@{amd64.manifest.digest}"
    with pytest.raises(UsageError, match="No such manifest"):
        describe(store, registry, "app:1", "app:amd64")

"""Which images a list has, in which order, with which names."""

from __future__ import annotations

import json

import pytest
from support.stored import keep

from firkin.errors import UsageError
from firkin.images.list import Listed, Wanted, choose_images, list_images
from firkin.oci.config import parse_config
from firkin.oci.image import assemble
from firkin.oci.reference import parse_reference
from firkin.store.store import Store


def make(store: Store, created: str | None, *names: str, labels: dict[str, str] | None = None, pinned: bool = False) -> str:
    """Put an image into the store; return its id."""
    fields = {"created": created} if created is not None else {}
    raw = json.dumps({
        **fields, "architecture": "amd64", "os": "linux", "config": {"Labels": labels or {}, "Env": [str(names)]},
        "rootfs": {"type": "layers", "diff_ids": []},
    })  # fmt: skip
    image = assemble(parse_config(raw.encode()), (), "oci")
    for document in (image.config.raw, image.manifest.raw):
        store.blobs.put(document)
    store.images.tag(image.manifest.descriptor, tuple(map(parse_reference, names)), pinned=pinned)
    return image.config.digest


def chosen(store: Store, wanted: Wanted) -> list[Listed]:
    return list(choose_images(store, list_images(store, lambda digest, error: pytest.fail(str(error))), wanted))


def names(images: list[Listed]) -> list[str]:
    return [name.removeprefix("docker.io/library/") for image in images for name in image.names or ("-",)]


@pytest.fixture
def filled(store: Store) -> Store:
    make(store, "2020-01-01T00:00:00Z", "app:1", "reg.io/team/app:1", labels={"a": "1"})
    make(store, "2022-01-01T00:00:00.5Z", "app:3", labels={"a": "2", "b": ""})
    make(store, "2021-01-01T00:00:00+01:00", "other:2", pinned=True)
    make(store, "0001-01-01T00:00:00Z", "old:1")
    make(store, None)
    return store


def test_the_newest_is_first_and_those_without_a_time_are_last(filled: Store) -> None:
    found = chosen(filled, Wanted())
    assert names(found) == ["app:3", "other:2", "app:1", "reg.io/team/app:1", "-", "old:1"]
    assert [image.created_s is None for image in found] == [False, False, False, True, True]


@pytest.mark.parametrize(("pattern", "expected"), [
    ("app", ["app:3", "app:1"]), ("app:*", ["app:3", "app:1"]), ("app:3", ["app:3"]), ("a*", ["app:3", "app:1"]),
    ("docker.io/library/app", ["app:3", "app:1"]), ("docker.io/library/app:1", ["app:1"]),
    ("*/team/app", ["reg.io/team/app:1"]), ("*", ["app:3", "other:2", "app:1", "old:1"]), ("*/*", []),
    ("reg.io/*/*:[0-9]", ["reg.io/team/app:1"]), ("team/app", []), ("app:4", []), ("", []), ("App", []),
])  # fmt: skip
def test_patterns_of_names(filled: Store, pattern: str, expected: list[str]) -> None:
    """No star crosses a slash, short and canonical names are tried, and only names that fit are left."""
    assert names(chosen(filled, Wanted(references=(pattern,)))) == expected


def test_any_of_several_patterns_is_enough_and_a_malformed_one_is_told(filled: Store) -> None:
    assert names(chosen(filled, Wanted(references=("other", "old:*")))) == ["other:2", "old:1"]
    with pytest.raises(UsageError, match="invalid filter 'reference=a\\["):
        chosen(filled, Wanted(references=("a[",)))


def test_digests_of_a_repository_stay_with_its_tags(filled: Store) -> None:
    (found,) = chosen(filled, Wanted(references=("other:2",)))
    assert len(found.digests) == 1
    (found,) = chosen(filled, Wanted(references=("other@sha256:*",)))
    assert (found.names, len(found.digests)) == ((), 1)


def test_dangling_images(filled: Store) -> None:
    image = keep(filled)
    filled.images.tag(image.manifest.descriptor, (parse_reference(f"only@{image.manifest.digest}"),))
    assert names(chosen(filled, Wanted(dangling=True))) == ["-", "-"], "a digest name is no tag"
    assert names(chosen(filled, Wanted(dangling=False))).count("-") == 1


def test_before_since_and_until(filled: Store) -> None:
    assert names(chosen(filled, Wanted(since=("app:1",)))) == ["app:3", "other:2"]
    assert names(chosen(filled, Wanted(before=("app:3", "other:2")))) == ["app:1", "reg.io/team/app:1", "-", "old:1"]
    assert names(chosen(filled, Wanted(since=("app:1", "other:2")))) == ["app:3"]
    assert names(chosen(filled, Wanted(since=("app:1",), until_s=1640995199.0))) == ["other:2"]
    with pytest.raises(UsageError, match="No such image: absent"):
        chosen(filled, Wanted(before=("absent",)))


def test_labels(filled: Store) -> None:
    assert names(chosen(filled, Wanted(labels_fit=lambda labels: labels.get("a") == "2"))) == ["app:3"]

"""Deleting a name in a registry never takes others with it unasked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.copies import publish
from support.stored import make_image

from firkin.errors import RegistryError, UsageError
from firkin.images.copy.several import Several
from firkin.images.delete import Deleted, delete_name
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

ONE = make_image(b"one")


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(RegistrySettings(retries=0)) as made:
        yield made


def delete(client: RegistryClient, name: str, *, agreed: bool = True) -> tuple[Deleted | None, list[tuple[str, ...]]]:
    asked: list[tuple[str, ...]] = []
    several = Several(2, Cancel(), lambda tasks: [task.result() for task in tasks] and None)
    gone = delete_name(client, parse_reference(name), several, lambda tags: not asked.append(tags) and agreed)
    return gone, asked


def put(registry: FakeRegistry, *tags: str) -> None:
    publish(registry, "app", ONE, layers=(b"one",))
    for tag in tags:
        registry.add_manifest("app", tag, ONE.manifest.media_type, ONE.manifest.raw)


def tags(registry: FakeRegistry) -> set[str]:
    return {tag for _, tag in registry.manifests if not tag.startswith("sha256:")}


def test_trap_26_a_tag_goes_alone_where_the_registry_deletes_tags(
    registry: FakeRegistry, client: RegistryClient
) -> None:
    put(registry, "2")
    gone, asked = delete(client, f"{registry.host}/app:1")
    assert gone == Deleted(ONE.manifest.digest, ("1",), manifest=False) and not asked
    assert tags(registry) == {"2"} and ("app", ONE.manifest.digest) in registry.manifests


@pytest.mark.parametrize("status", [400, 405])
def test_trap_26_where_it_does_not_the_other_tags_are_told_first(
    status: int, registry: FakeRegistry, client: RegistryClient
) -> None:
    put(registry, "2", "latest")
    registry.add_manifest("app", "other", "application/vnd.oci.image.manifest.v1+json", make_image(b"2").manifest.raw)
    registry.fail("DELETE", "/manifests/1", times=2, status=status)
    gone, asked = delete(client, f"{registry.host}/app:1", agreed=False)
    assert gone is None and [set(listed) for listed in asked] == [{"2", "latest"}]
    assert tags(registry) == {"1", "2", "latest", "other"}
    gone, _ = delete(client, f"{registry.host}/app:1")
    assert gone is not None and gone.manifest and set(gone.tags) == {"1", "2", "latest"}
    assert ("app", ONE.manifest.digest) not in registry.manifests


def test_nobody_is_asked_when_no_other_tag_goes(registry: FakeRegistry, client: RegistryClient) -> None:
    put(registry)
    registry.fail("DELETE", "/manifests/1", status=405)
    gone, asked = delete(client, f"{registry.host}/app:1")
    assert gone == Deleted(ONE.manifest.digest, ("1",), manifest=True) and not asked


def test_a_digest_takes_its_tags_only_when_agreed(registry: FakeRegistry, client: RegistryClient) -> None:
    put(registry)
    gone, asked = delete(client, f"{registry.host}/app@{ONE.manifest.digest}", agreed=False)
    assert gone is None and asked == [("1",)] and tags(registry) == {"1"}


def test_what_is_not_there_or_not_allowed_is_an_error(registry: FakeRegistry, client: RegistryClient) -> None:
    with pytest.raises(UsageError, match=r"No such manifest: .*/app:1"):
        delete(client, f"{registry.host}/app:1")
    put(registry)
    registry.fail("DELETE", "/manifests/1", status=403)
    with pytest.raises(RegistryError):
        delete(client, f"{registry.host}/app:1")
    assert tags(registry) == {"1"}

"""When a registry is asked what the tag of a base means."""

import pytest

from firkin.content.resolve import ImageResolver
from firkin.errors import RegistryError
from firkin.hints import Hint
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.manifest import Manifest, encode_manifest
from firkin.oci.platform import Platform
from firkin.store.store import Store

PLATFORM = Platform("linux", "amd64")


class Registry:
    """A registry client with one image, whose content `publish` changes."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.publish(b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}')

    def publish(self, config: bytes) -> None:
        self.config = config
        described = Descriptor(media.OCI_CONFIG, digest_of(config), len(config))
        self.manifest = encode_manifest(Manifest(media.OCI_MANIFEST, described, ()))

    def resolve(self, reference):
        self.asked.append("HEAD")
        return self.manifest.descriptor

    def get_manifest(self, reference):
        self.asked.append("GET")
        assert reference.digest == self.manifest.digest
        return self.manifest

    def get_config(self, reference, manifest):
        return parse_config(self.config)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def resolve(tmp_path, registry):
    """Return a function that resolves `app:1` at a time, as a new build would, and returns (digest, what was asked)."""

    def at(now: float, **options: object) -> tuple[str, list[str]]:
        registry.asked.clear()
        with Store(str(tmp_path / "store"), lambda: now) as store:
            resolver = ImageResolver(
                store, lambda: registry, lambda event: None, lambda: now, **{"pull": False, **options}
            )
            return resolver.resolve("app:1", PLATFORM).digest, list(registry.asked)

    return at


def test_a_tag_is_asked_about_in_every_build(registry, resolve):
    first = registry.manifest.digest
    assert resolve(1000.0) == (first, ["HEAD", "GET"])
    assert resolve(1001.0) == (first, ["HEAD"])
    registry.publish(registry.config + b"\n")
    assert registry.manifest.digest != first
    assert resolve(1002.0) == (registry.manifest.digest, ["HEAD", "GET"])


@pytest.mark.parametrize("name", ["sha256:" + "a" * 64, "a" * 64, "sha256:abc"])
def test_no_registry_is_asked_for_a_digest(tmp_path, registry, name):
    with Store(str(tmp_path / "store"), lambda: 1.0) as store:
        resolver = ImageResolver(store, lambda: registry, lambda event: None, lambda: 1.0, pull=False)
        with pytest.raises(RegistryError) as caught:
            resolver.resolve(name, PLATFORM)
    assert registry.asked == [] and caught.value.hints == (Hint.of("tag"),)


def test_what_was_asked_lately_enough_is_reused(registry, resolve):
    first = registry.manifest.digest
    assert resolve(1000.0, max_age_s=60.0) == (first, ["HEAD", "GET"])
    registry.publish(registry.config + b"\n")
    assert resolve(1059.0, max_age_s=60.0) == (first, [])
    assert resolve(1059.0, max_age_s=60.0, pull=True)[1] == ["HEAD", "GET"]


def test_an_answer_counts_from_when_it_was_given(registry, resolve):
    resolve(1000.0, max_age_s=60.0)
    assert resolve(1061.0, max_age_s=60.0)[1] == ["HEAD"]
    assert resolve(1120.0, max_age_s=60.0)[1] == []
    assert resolve(900.0, max_age_s=60.0)[1] == ["HEAD"], "an answer from the future"


def test_a_digest_is_never_asked_about(tmp_path, registry):
    with Store(str(tmp_path / "store"), lambda: 1000.0) as store:
        resolver = ImageResolver(store, lambda: registry, lambda event: None, lambda: 1000.0, pull=True)
        found = resolver.resolve(f"app@{registry.manifest.digest}", PLATFORM)
    assert (found.digest, registry.asked) == (registry.manifest.digest, ["GET"])

"""Pushing to several names: what is sent, in which order, and what is not."""

import io
import json
import threading
from collections.abc import Iterator

import pytest

from firkin.errors import Cancelled, RegistryError
from firkin.events import Event, Finished, Progress
from firkin.images.push import Content
from firkin.images.push_job import Push, PushJob
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of
from firkin.oci.image import Image, Layer, assemble, validate
from firkin.oci.manifest import Index, encode_index
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import Mirror, RegistrySettings
from firkin.tasks.pools import Pool
from firkin.testing.registry import FakeRegistry


class Layers:
    """Layers in memory; opening one that came from a base is counted."""

    def __init__(self, *contents: bytes) -> None:
        self.blobs = {digest_of(data): data for data in contents}
        self.origins: dict[Digest, Reference] = {}
        self.opened: list[Digest] = []

    def open(self, descriptor: Descriptor) -> io.BytesIO:
        self.opened.append(descriptor.digest)
        return io.BytesIO(self.blobs[descriptor.digest])

    def origin(self, digest: Digest) -> Reference | None:
        return self.origins.get(digest)


def image(architecture: str, *contents: bytes) -> Image:
    digests = [digest_of(data) for data in contents]
    raw = json.dumps({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests},
    }).encode()
    layers = tuple(
        Layer(digest, Descriptor(media.OCI_LAYER, digest, len(data)))  # type: ignore[arg-type]
        for digest, data in zip(digests, contents, strict=True)
    )
    made = assemble(parse_config(raw), layers, "oci")
    assert not validate(made)
    return made


ONE, TWO, BASE = b"one" * 10_000, b"two" * 10_000, b"base" * 10_000


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool("transfer", 4)
    yield made
    made.close(Cancelled("the test has ended"))


class Pusher:
    def __init__(self, pool: Pool, settings: RegistrySettings | None = None) -> None:
        self.pool = pool
        self.events: list[Event] = []
        self.settings = settings or RegistrySettings(retries=0)

    def __call__(
        self, layers: Layers, images: tuple[Image, ...], *names: str, index: Index | None = None,
        by_digest: bool = False,
    ) -> None:
        job = PushJob(Content(images, index), tuple(parse_reference(name) for name in names), by_digest)
        with RegistryClient(self.settings) as client:
            Push(job, client, self.pool, layers, self.events.append).run()


@pytest.fixture
def push(pool: Pool) -> Pusher:
    return Pusher(pool)


def methods(registry: FakeRegistry) -> list[str]:
    return [f"{seen.method} {seen.path.partition('/v2/')[2].partition('?')[0]}" for seen in registry.seen]


def test_names_come_after_everything_else(registry: FakeRegistry, push: Pusher) -> None:
    app = image("amd64", ONE, TWO)
    push(Layers(ONE, TWO), (app,), f"{registry.host}/app:1", f"{registry.host}/app:latest")
    assert registry.manifests["app", "1"] == (app.manifest.media_type, app.manifest.raw)
    assert registry.manifests["app", "latest"] == registry.manifests["app", "1"]
    assert set(registry.blobs) == {("app", digest_of(data)) for data in (ONE, TWO, app.config.raw)}
    puts = [path for path in methods(registry) if path.startswith("PUT")]
    assert puts[-2:] == ["PUT app/manifests/1", "PUT app/manifests/latest"] and len(puts) == 5
    assert [e.status for e in push.events if isinstance(e, Finished)] == ["done"]
    assert max(e.current for e in push.events if isinstance(e, Progress)) == len(ONE)


def test_a_name_that_is_right_costs_one_request(registry: FakeRegistry, push: Pusher) -> None:
    app, layers = image("amd64", ONE), Layers(ONE)
    push(layers, (app,), f"{registry.host}/app:1")
    registry.seen.clear()
    push(layers, (app,), f"{registry.host}/app:1")
    assert methods(registry) == ["HEAD app/manifests/1"]
    registry.seen.clear()
    push(layers, (app,), f"{registry.host}/app:1", f"{registry.host}/app:2")
    assert methods(registry) == ["HEAD app/manifests/1", "HEAD app/manifests/2", "PUT app/manifests/2"]
    registry.seen.clear()
    push(layers, (app,), f"{registry.host}/app:3")
    digest = app.manifest.digest
    assert methods(registry) == ["HEAD app/manifests/3", f"HEAD app/manifests/{digest}", "PUT app/manifests/3"]


def test_layers_of_a_base_are_mounted_and_never_opened(registry: FakeRegistry, push: Pusher) -> None:
    registry.add_blob("library/base", BASE)
    app, layers = image("amd64", BASE, ONE), Layers(BASE, ONE)
    layers.origins[digest_of(BASE)] = parse_reference(f"{registry.host}/library/base:1")
    push(layers, (app,), f"{registry.host}/app:1")
    assert ("app", digest_of(BASE)) in registry.blobs and layers.opened == [digest_of(ONE)]


def test_layers_are_mounted_from_the_mirror_that_the_target_is(registry: FakeRegistry, pool: Pool) -> None:
    registry.add_blob("hub/library/base", BASE)
    app, layers = image("amd64", BASE), Layers(BASE)
    layers.origins[digest_of(BASE)] = parse_reference("base:1")
    settings = RegistrySettings(mirrors=(Mirror("docker.io", f"{registry.url}/hub"),), retries=0)
    Pusher(pool, settings)(layers, (app,), f"{registry.host}/app:1")
    assert ("app", digest_of(BASE)) in registry.blobs and layers.opened == []


def test_a_second_repository_of_a_registry_mounts_from_the_first(registry: FakeRegistry, push: Pusher) -> None:
    app, layers = image("amd64", ONE, TWO), Layers(ONE, TWO)
    push(layers, (app,), f"{registry.host}/a:1", f"{registry.host}/b:1")
    assert len(layers.opened) == 2 and ("b", digest_of(TWO)) in registry.blobs
    puts = [path for path in methods(registry) if path.startswith("PUT") and "/manifests/" in path]
    assert puts == ["PUT a/manifests/1", "PUT b/manifests/1"]


def test_an_index_comes_after_its_manifests(registry: FakeRegistry, push: Pusher) -> None:
    images = (image("amd64", ONE), image("arm64", ONE, TWO))
    index = encode_index(Index(media.OCI_INDEX, tuple(item.manifest.descriptor for item in images)))
    layers = Layers(ONE, TWO)
    push(layers, images, f"{registry.host}/app:1", index=index)
    assert registry.manifests["app", "1"][1] == index.raw
    assert all(("app", item.manifest.digest) in registry.manifests for item in images)
    assert sorted(layers.opened) == sorted((digest_of(ONE), digest_of(TWO)))
    assert methods(registry)[-1] == "PUT app/manifests/1"


def test_push_by_digest_names_nothing(registry: FakeRegistry, push: Pusher) -> None:
    app = image("amd64", ONE)
    push(Layers(ONE), (app,), f"{registry.host}/app:1", by_digest=True)
    assert set(registry.manifests) == {("app", app.manifest.digest)}


def test_a_failed_push_leaves_names_as_they_were(registry: FakeRegistry, push: Pusher) -> None:
    push(Layers(ONE), (image("amd64", ONE),), f"{registry.host}/app:1")
    before = registry.manifests["app", "1"]
    registry.fail("PUT", "/blobs/uploads/", status=403)
    with pytest.raises(RegistryError):
        push(Layers(TWO), (image("amd64", TWO),), f"{registry.host}/app:1", f"{registry.host}/other:1")
    assert registry.manifests["app", "1"] == before and ("other", "1") not in registry.manifests
    assert [e.status for e in push.events if isinstance(e, Finished)] == ["done", "failed"]


def test_a_layer_that_cannot_be_read_is_the_error(registry: FakeRegistry, push: Pusher) -> None:
    class Gone(Layers):
        def open(self, descriptor: Descriptor) -> io.BytesIO:
            raise FileNotFoundError(2, "no such file")

    before = threading.active_count()  # of servers of other tests, too
    with pytest.raises(FileNotFoundError):
        push(Gone(), (image("amd64", ONE, TWO),), f"{registry.host}/app:1")
    assert threading.active_count() < before + 15

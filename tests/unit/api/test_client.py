"""The client from Python: docker-py's names, over a real store and a registry in the process."""

from __future__ import annotations

import importlib.util
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import firkin
from firkin import errors
from firkin.testing.registry import FakeRegistry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as started:
        yield started


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[firkin.Client]:
    """A client of a store with an image `app:1`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "context").mkdir()
    (tmp_path / "context/file").write_text("content")
    (tmp_path / "context/Dockerfile").write_text('FROM scratch\nCOPY file /\nLABEL made="by test"\nCMD ["/file"]\n')
    with firkin.connect(tmp_path / "store") as connected:
        connected.images.build(path="context", tag="app:1")
        yield connected


def test_an_image_has_what_docker_py_gives_it(client: firkin.Client) -> None:
    image = client.images.get("app:1")
    assert image.tags == ["app:1"] and image.labels == {"made": "by test"}
    assert image.id.startswith("sha256:") and len(image.id) == 71 and image.short_id == image.id[:17]
    assert image.attrs["Config"]["Cmd"] == ["/file"] and image.attrs["Size"] == len("content")
    assert repr(image) == "<Image: 'app:1'>"
    newest = image.history()[0]
    assert newest["Id"] == image.id and newest["Tags"] == ["app:1"] and "CMD" in newest["CreatedBy"]
    assert image == client.images.get(image.id) and {image} == {client.images.get(image.short_id)}
    assert client.ping() and client.version()["Version"] == firkin.__version__


def test_tags_come_and_go(client: firkin.Client) -> None:
    image = client.images.get("app:1")
    assert image.tag("team/app", tag="2") and client.images.tag("app:1", "app")
    assert image.tags == ["app:1"]
    image.reload()
    assert image.tags == ["app:1", "app:latest", "team/app:2"]
    client.images.remove("app:latest")
    with pytest.raises(errors.UsageError) as caught:
        image.remove()  # its names are in two repositories
    assert caught.value.code == "image-conflict"
    image.remove(force=True)
    assert client.images.list() == []
    with pytest.raises(errors.ImageNotFound):
        image.reload()


@pytest.mark.parametrize("call", [
    lambda images: images.get("nothing"),
    lambda images: images.remove("nothing"),
    lambda images: images.tag("nothing", "x"),
    lambda images: images.push("nothing"),
    lambda images: images.history("sha256:" + "0" * 64),
    lambda images: images.save("nothing", "x.tar"),
    lambda images: list(images.stream(["nothing"])),
])  # fmt: skip
def test_a_missing_image_has_an_error_of_its_own(client: firkin.Client, call: object) -> None:
    with pytest.raises(errors.ImageNotFound, match="No such image") as caught:
        call(client.images)  # type: ignore[operator]
    assert caught.value.code == "no-image" and isinstance(caught.value, errors.UsageError)


def test_lists_are_filtered(client: firkin.Client, tmp_path: Path) -> None:
    other, _ = client.images.build(fileobj=io.BytesIO(b"FROM scratch\nLABEL other=1\nCOPY <<X /x\nX\n"), tag="other:1")
    app = client.images.get("app:1")
    images = client.images
    assert set(images.list()) == {app, other}
    assert images.list("app") == images.list(name="app:*") == images.list(filters={"label": "made"}) == [app]
    assert images.list(filters={"label": ["other=1"]}) == images.list(filters={"label!": "made"}) == [other]
    assert images.list(filters={"dangling": True}) == [] and images.list("nothing") == []
    for filters in ({"nonsense": "x"}, {"dangling": "maybe"}, {"until": "soon"}, {"label": 3}):
        with pytest.raises(errors.UsageError):
            images.list(filters=filters)  # type: ignore[arg-type]


def test_prune_removes_what_lost_its_name(client: firkin.Client, tmp_path: Path) -> None:
    old = client.images.get("app:1")
    (tmp_path / "context/file").write_text("newer")
    new, _ = client.images.build(path=tmp_path / "context", tag="app:1")
    assert client.images.list(filters={"dangling": True}) == [old]
    report = client.images.prune()
    assert {"Deleted": old.id} in report["ImagesDeleted"] and report["SpaceReclaimed"] >= 0
    assert client.images.list() == [new]


def test_archives_come_and_go(client: firkin.Client, tmp_path: Path) -> None:
    image = client.images.get("app:1")
    named = b"".join(image.save(chunk_size=1000, named=True))
    with tarfile.open(fileobj=io.BytesIO(named)) as archive:
        assert "manifest.json" in archive.getnames()
    client.images.save(["app:1"], tmp_path / "app.tar")
    client.images.save("app:1", tmp_path / "layout", format="oci-dir")
    other = firkin.connect(tmp_path / "other")
    pieces = iter([named[:700], named[700:]])
    for data in (named, io.BytesIO(named), pieces, tmp_path / "app.tar", tmp_path / "layout"):
        assert other.images.load(data) == [image]
        assert other.images.get("app:1").tags == ["app:1"]
        other.images.remove("app:1")
    assert other.images.load(b"".join(image.save()))[0].tags == []
    for wrong, error in ((b"nothing", errors.ContextError), (3, errors.UsageError), ([3], errors.UsageError),
                         (tmp_path / "none", errors.ContextError)):  # fmt: skip
        with pytest.raises(error):
            other.images.load(wrong)  # type: ignore[arg-type]
    assert other.images.list("app") == []
    with pytest.raises(errors.UsageError):
        image.save(named="other:1")


def test_what_is_pushed_can_be_pulled(client: firkin.Client, registry: FakeRegistry, tmp_path: Path) -> None:
    image = client.images.get("app:1")
    name = f"{registry.host}/team/app"
    for tag in ("1", "2"):
        image.tag(name, tag)
        pushed = client.images.push(name, tag=tag)
        assert pushed == f"{name}:{tag}@{image.attrs['Descriptor']['digest']}"
    other = firkin.connect(tmp_path / "other")
    events: list[object] = []
    assert other.images.pull(name, tag="1", on_event=events.append) == image and events
    assert other.images.pull(f"{name}:1").tags == [f"{name}:1"]
    digest = pushed.partition("@")[2]
    assert other.images.pull(name, tag=digest) == image
    assert other.images.pull(name, all_tags=True) == [image, image]
    assert other.images.get(image.id).tags == [f"{name}:1", f"{name}:2"]
    with pytest.raises(errors.UsageError):
        other.images.pull(f"{name}:1", all_tags=True)
    with pytest.raises(errors.RegistryError):
        other.images.pull(name, tag="none")


def test_a_build_gives_image_and_log(client: firkin.Client) -> None:
    image, log = client.images.build(fileobj=io.BytesIO(b"FROM app:1\nLABEL a=b\n"), labels={"c": "d"}, rm=True)
    assert image.labels == {"made": "by test", "a": "b", "c": "d"}
    assert all(set(line) == {"stream"} for line in log)
    for wrong in ({}, {"path": ".", "fileobj": io.BytesIO(b"")}, {"fileobj": io.BytesIO(b"\xff")}, {"path": 3}):
        with pytest.raises(errors.UsageError):
            client.images.build(**wrong)  # type: ignore[arg-type]


def test_threads_share_a_client(client: firkin.Client) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(3):
                client.images.tag("app:1", f"shared:{number}")
                assert f"shared:{number}" in client.images.get(f"shared:{number}").tags
                client.images.list()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(client.images.get("app:1").tags) == 7


def test_connecting_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRKIN_ROOT", str(tmp_path / "elsewhere"))
    assert firkin.connect().root == str(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    for wrong in ({"root": 3}, {"registry": "r.example"}, {"config": b"x"}):
        with pytest.raises(errors.UsageError):
            firkin.connect(**wrong)  # type: ignore[arg-type]


def test_no_public_name_is_that_of_a_module() -> None:
    """Otherwise importing the module would replace what `import firkin` gives under this name."""
    places = {name: importlib.util.find_spec(f"firkin.{name}") for name in firkin.__all__ if name != "__version__"}
    assert [name for name, found in places.items() if found is not None] == []

"""Images of the store from Python: the same names, errors and transfers as on the command line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import firkin
from firkin import errors
from firkin.events import Progress
from firkin.testing.registry import FakeRegistry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as started:
        yield started


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with an image `app:1`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("content")
    place = str(tmp_path / "store")
    firkin.build(tmp_path, dockerfile_text="FROM scratch\nCOPY file /\n", tags=["app:1"], root=place)
    return place


def test_images_are_listed_with_all_their_names(root: str) -> None:
    (image,) = firkin.list_images(root=root)
    assert image.names == ("docker.io/library/app:1",) and image.size_bytes > 100
    again = firkin.tag("app:1", "app:2", "example.com/team/app", root=root)
    assert again.digest == image.digest and again.config_digest == image.config_digest
    assert firkin.list_images(root=root) == (again,)
    assert set(again.names) == {f"docker.io/library/app:{tag}" for tag in "12"} | {"example.com/team/app:latest"}
    assert firkin.tag(image.config_digest, "by-id", root=root).digest == image.digest


@pytest.mark.parametrize(("call", "message"), [
    (lambda root: firkin.tag("nothing", "x", root=root), "no image `nothing`"),
    (lambda root: firkin.tag("app:1", root=root), "needs a name"),
    (lambda root: firkin.tag("app:1", "a@sha256:" + "0" * 64, root=root), "has a digest"),
    (lambda root: firkin.tag("app:1", "UPPER", root=root), "UPPER"),
    (lambda root: firkin.push("nothing", root=root), "no image `nothing`"),
    (lambda root: firkin.push(firkin.list_images(root=root)[0].digest, root=root), "does not say where to push"),
    (lambda root: firkin.pull("app", platform="a/b/c/d", root=root), "invalid `platform`"),
    (lambda root: firkin.pull("sha256:" + "0" * 64, root=root), "is a digest, not a name"),
])  # fmt: skip
def test_what_is_wrong_is_told(root: str, call: object, message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        call(root)  # type: ignore[operator]


def test_what_is_pushed_can_be_pulled(root: str, registry: FakeRegistry, tmp_path: Path) -> None:
    (image,) = firkin.list_images(root=root)
    name = f"{registry.host}/team/app:1"
    events: list[object] = []
    assert firkin.push("app:1", name, root=root, on_event=events.append) == (f"{name}@{image.digest}",)
    assert {type(event) for event in events} == {Progress}
    other = str(tmp_path / "other")
    pulled = firkin.pull(name, root=other, on_event=events.append)
    assert pulled == firkin.list_images(root=other)[0]
    assert (pulled.digest, pulled.config_digest, pulled.names) == (image.digest, image.config_digest, (name,))
    assert firkin.pull(name, root=other) == pulled
    with pytest.raises(errors.RegistryError):
        firkin.pull(f"{registry.host}/team/none:1", root=other)


def test_a_transfer_can_be_stopped(root: str, registry: FakeRegistry, tmp_path: Path) -> None:
    name = f"{registry.host}/team/app:1"
    firkin.push("app:1", name, root=root)
    registry.fail("GET", "/blobs/", times=9, drip_s=0.2)  # the configuration alone would take a minute
    stop = threading.Event()
    other = str(tmp_path / "other")
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(errors.Cancelled):
        firkin.pull(name, root=other, cancel=stop)
    assert time.monotonic() - began < 10
    assert firkin.list_images(root=other) == ()


def test_what_a_listener_raises_ends_a_transfer(root: str, registry: FakeRegistry, tmp_path: Path) -> None:
    name = f"{registry.host}/team/app:1"
    firkin.push("app:1", name, root=root)

    def refuse(event: object) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        firkin.pull(name, root=str(tmp_path / "third"), on_event=refuse)

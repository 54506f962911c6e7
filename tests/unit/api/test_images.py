"""Images of the store from Python: the same names, errors and transfers as on the command line."""

from __future__ import annotations

import inspect
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
    (lambda root: firkin.tag("nothing", "x", root=root), "No such image: nothing"),
    (lambda root: firkin.tag("app:1", root=root), "needs a name"),
    (lambda root: firkin.tag("app:1", "a@sha256:" + "0" * 64, root=root), "refusing to create a tag with a digest reference"),
    (lambda root: firkin.tag("app:1", "UPPER", root=root), "UPPER"),
    (lambda root: firkin.push("nothing", root=root), "No such image: nothing"),
    (lambda root: firkin.push(firkin.list_images(root=root)[0].digest, root=root), "does not say where to push"),
    (lambda root: firkin.pull("app", platform="a/b/c/d", root=root), "invalid `platform`"),
    (lambda root: firkin.pull("sha256:" + "0" * 64, root=root), "is a digest, not a name"),
])  # fmt: skip
def test_what_is_wrong_is_told(root: str, call: object, message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        call(root)  # type: ignore[operator]


WRONG = {
    "none": None, "int": 3, "true": True, "bytes": b"x", "list": ["x"], "dict": {"a": "b"}, "object": object(),
    "NUL": "a\0b", "surrogate": "\ud800", "str": "x", "path": Path("x"), "function": len, "event": threading.Event(),
}  # fmt: skip
TEXT, PATH = "str", "none, str, path"
TRANSFER = {"root": PATH, "registry": "none", "on_event": "none, function", "cancel": "none, event"}
TAKES = {
    "list_images": {"root": PATH},
    "tag": {"image": TEXT, "names": TEXT, "root": PATH},
    "pull": {"name": TEXT, "platform": f"none, {TEXT}", **TRANSFER},
    "push": {"image": TEXT, "names": TEXT, **TRANSFER},
}


@pytest.mark.parametrize(("call", "argument", "value"), [
    pytest.param(call, argument, value, id=f"{call}-{argument}-{kind}")
    for call, arguments in TAKES.items() for argument, takes in arguments.items() for kind, value in WRONG.items()
    if kind not in takes.split(", ")
])  # fmt: skip
def test_a_value_of_another_type_is_refused_by_the_name_of_its_argument(
    call: str, argument: str, value: object, tmp_path: Path
) -> None:
    given = {"image": "app:1", "name": "app:1", "root": tmp_path / "store", argument: value}
    names = [given.pop("names", "app:2")]
    first = [given.pop(name) for name in ("image", "name") if name in TAKES[call]]
    keywords = {name: given[name] for name in TAKES[call] if name in given}
    with pytest.raises(errors.UsageError) as caught:
        getattr(firkin, call)(*first, *(names if "names" in TAKES[call] else ()), **keywords)
    assert caught.value.code in ("argument-type", "request-nul", "request-not-utf-8")
    assert f"`{argument}" in caught.value.message
    assert not (tmp_path / "store").exists()


def test_hints_are_in_the_words_of_the_api(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="No such image: app:1") as caught:
        firkin.tag("app:1", "app:2", root=tmp_path / "store")
    assert caught.value.hints == ("`firkin.list_images()` returns what is in the store",)


def test_every_argument_is_tried() -> None:
    for call, arguments in TAKES.items():
        assert list(inspect.signature(getattr(firkin, call)).parameters) == list(arguments)


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

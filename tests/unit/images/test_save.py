"""Images of the store as archives and layouts: the names in them, and what is refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.stored import keep, keep_index

from firkin.errors import UsageError
from firkin.images.find import find_image
from firkin.images.save import Form, save_image
from firkin.store.store import Store

ONE = b"one" * 10_000


def save(store: Store, text: str, form: Form, dest: Path) -> None:
    save_image(store, find_image(store, text), text, form, str(dest), None)


def document(path: Path, name: str) -> Any:
    with tarfile.open(path) as archive:
        return json.load(archive.extractfile(name))  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "names"), [
    ("app:1", ["app:1"]),
    ("app", ["app:1", "app:2", "app:latest"]),
    ("docker.io/library/app:2", ["app:2"]),
    ("id", ["app:1", "app:2", "app:latest"]),
])  # fmt: skip
def test_an_image_has_the_name_that_it_was_asked_for_by(
    store: Store, tmp_path: Path, text: str, names: list[str]
) -> None:
    image = keep(store, "app:1", "app:2", "app:latest", layers=(ONE,))
    save(store, image.config.digest if text == "id" else text, "docker", tmp_path / "image.tar")
    assert document(tmp_path / "image.tar", "manifest.json")[0]["RepoTags"] == names


def test_several_platforms_are_saved_as_a_layout_only(store: Store, tmp_path: Path) -> None:
    images = [keep(store, architecture=kind) for kind in ("amd64", "arm64")]
    index = keep_index(store, "multi:1", *images)
    with pytest.raises(UsageError, match="reads one platform only"):
        save(store, "multi:1", "docker", tmp_path / "image.tar")
    assert not (tmp_path / "image.tar").exists()
    save(store, "multi:1", "oci", tmp_path / "image.tar")
    assert document(tmp_path / "image.tar", "index.json")["manifests"][0]["digest"] == index.digest
    save(store, "multi:1", "oci-dir", tmp_path / "layout")
    assert {path.name for path in (tmp_path / "layout/blobs/sha256").iterdir()} >= {
        image.manifest.digest[7:] for image in images
    }


def test_an_archive_can_go_to_a_stream(store: Store, tmp_path: Path) -> None:
    keep(store, "app:1", layers=(ONE,))
    save(store, "app:1", "oci", tmp_path / "image.tar")
    stream = io.BytesIO()
    save_image(store, find_image(store, "app:1"), "app:1", "oci", "-", stream)
    assert stream.getvalue() == (tmp_path / "image.tar").read_bytes()

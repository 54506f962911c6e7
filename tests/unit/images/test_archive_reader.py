"""Archives that are read: those that firkin writes, and those that somebody made up."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.stored import keep, keep_index, make_image

from firkin.errors import ContextError
from firkin.images.archive_reader import open_files, read_image
from firkin.images.docker_archive import write_flat_archive
from firkin.images.names import read_tag
from firkin.images.save import SaveRequest, save_images
from firkin.store.store import Store

ONE, TWO = b"one" * 10_000, b"two" * 10_000


@pytest.mark.parametrize("form", ["docker", "oci", "oci-dir"])
def test_what_is_saved_is_read_again(store: Store, tmp_path: Path, form: Any) -> None:
    kept = keep(store, "app:1", layers=(ONE, TWO))
    save_images(store, SaveRequest(("app:1",), form), str(tmp_path / "saved"), None, lambda code, text: None)
    files = open_files(str(tmp_path / "saved"))
    image, places = read_image(files)
    assert image.manifest.raw == kept.manifest.raw
    for layer, data in zip(image.layers, (ONE, TWO), strict=True):
        with files.open(places[layer.descriptor.digest]) as file:  # type: ignore[union-attr]
            assert file.read() == data


def test_a_flat_archive_gets_a_manifest(store: Store, tmp_path: Path) -> None:
    kept = keep(store, "app:1", layers=(ONE,))
    write_flat_archive(kept, (read_tag("app:1"),), store.blobs, str(tmp_path / "flat.tar"), None)
    image, places = read_image(open_files(str(tmp_path / "flat.tar")))
    assert image.config.raw == kept.config.raw and len(places) == 1
    assert [layer.descriptor.digest for layer in image.layers] == [layer.descriptor.digest for layer in kept.layers]


def test_a_compressed_archive_is_read_as_well(store: Store, tmp_path: Path) -> None:
    keep(store, "app:1", layers=(ONE,))
    save_images(store, SaveRequest(("app:1",), "oci"), str(tmp_path / "a.tar"), None, lambda code, text: None)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    assert read_image(open_files(str(tmp_path / "a.tar.gz"))) == read_image(open_files(str(tmp_path / "a.tar")))


def test_what_is_no_archive_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(ContextError, match="cannot read") as caught:
            open_files(str(path))
        assert caught.value.code == "push-source"


def made_up(place: Path, **documents: object) -> str:
    for name, content in documents.items():
        (place / name.replace("_", ".")).write_text(json.dumps(content))
    return str(place)


def test_what_is_in_an_archive_is_checked(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a docker archive nor an OCI layout"):
        read_image(open_files(str(tmp_path)))
    with pytest.raises(ValueError, match="holds 2 images"):
        read_image(open_files(made_up(tmp_path, manifest_json=[{"Config": "a"}, {"Config": "b"}])))
    with pytest.raises(ValueError, match="`c` is missing"):
        read_image(open_files(made_up(tmp_path, manifest_json=[{"Config": "c"}])))
    (tmp_path / "c").write_bytes(make_image(ONE).config.raw)
    with pytest.raises(ValueError, match="lists 1 layers, the archive 0"):
        read_image(open_files(made_up(tmp_path, manifest_json=[{"Config": "c"}])))
    keep_index(store, "multi:1", keep(store, architecture="amd64"), keep(store, architecture="arm64"))
    save_images(store, SaveRequest(("multi:1",), "oci-dir"), str(tmp_path / "multi"), None, lambda code, text: None)
    with pytest.raises(ValueError, match="an index of several platforms"):
        read_image(open_files(str(tmp_path / "multi")))


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret"])
def test_names_in_a_directory_do_not_lead_out_of_it(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "archive"
    (inside / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text("{}")
    with pytest.raises(ValueError, match="is missing"):
        read_image(open_files(made_up(inside, manifest_json=[{"Config": name}])))


def test_a_tar_without_a_layer_that_it_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(make_image(ONE).config.raw)
    made_up(tmp_path, manifest_json=[{"Config": "c", "Layers": ["layer.tar"]}])
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name in ("c", "manifest.json"):
            archive.add(tmp_path / name, name)
    with pytest.raises(ValueError, match=r"the layer `layer\.tar` is missing"):
        read_image(open_files(str(tmp_path / "image.tar")))


@pytest.mark.parametrize("name", ["../outside", "/outside", "link", "deep/link", "pipe", "deep"])
def test_nothing_outside_of_a_directory_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("secret")
    place = tmp_path / "archive"
    (place / "deep").mkdir(parents=True)
    (place / "link").symlink_to(tmp_path / "outside")
    (place / "deep/link").symlink_to("../../outside")
    os.mkfifo(place / "pipe")
    assert open_files(str(place)).open(name) is None


def test_links_within_a_directory_are_followed(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/layer.tar").write_bytes(b"layer")
    (tmp_path / "two").symlink_to("one")
    file = open_files(str(tmp_path)).open("two/layer.tar")
    assert file is not None
    with file:
        assert file.read() == b"layer"

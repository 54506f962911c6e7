"""Whole builds of COPY: what kind of image each output gets."""

import json
import tarfile
from pathlib import Path
from typing import NoReturn

import pytest

from firkin.build import run_build
from firkin.errors import FirkinError, HostError
from firkin.oci import media
from firkin.request import BuildRequest, BuildResult, Output
from firkin.solve.cancel import Cancel
from firkin.testing.registry import FakeRegistry


def no_run() -> NoReturn:
    raise HostError("no RUN here")


def build(place: Path, dockerfile: str, output: Output, *tags: str) -> BuildResult:
    (place / "context").mkdir(exist_ok=True)
    (place / "context/file").write_text("content\n")
    request = BuildRequest(
        str(place / "context"), str(place / "store"), dockerfile_text=dockerfile, now_s=1.0, tags=tags, outputs=(output,)
    )
    return run_build(request, lambda event: None, Cancel(), no_run)


def test_a_docker_archive_takes_the_zstd_layers_of_a_base(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        base = f"{registry.host}/team/base:1"
        build(tmp_path, "FROM scratch\nCOPY file /one\n", Output("registry", compression="zstd"), base)
        dest = str(tmp_path / "out.tar")
        build(tmp_path, f"FROM {base}\nCOPY file /two\n", Output("docker", dest), "app:1")
        with tarfile.open(dest) as archive:
            index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
            name = index["manifests"][0]["digest"].replace(":", "/")
            manifest = json.load(archive.extractfile(f"blobs/{name}"))  # type: ignore[arg-type]
        kinds = [layer["mediaType"] for layer in manifest["layers"]]
        assert manifest["mediaType"] == media.OCI_MANIFEST
        assert kinds == [media.layer_media_type("oci", "zstd"), media.layer_media_type("oci", "gzip")]
        with pytest.raises(FirkinError) as caught:
            build(tmp_path, f"FROM {base}\nCOPY file /two\n", Output("docker", dest, media_family="docker"), "app:1")
        assert caught.value.code == "assemble" and "force-compression" in caught.value.hints[0]

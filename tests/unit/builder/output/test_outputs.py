"""Whole builds of COPY: what kind of image each output gets."""

import hashlib
import json
import os
import tarfile
import time
from pathlib import Path
from typing import NoReturn

import pytest

from firkin.builder.build import run_build
from firkin.builder.request import BuildRequest, BuildResult, Output, OutputType
from firkin.errors import FirkinError, HostError, UsageError
from firkin.events import Event, Started
from firkin.hints import Hint
from firkin.images.find import find_image
from firkin.oci import media
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry


def no_run() -> NoReturn:
    raise HostError("no RUN here")


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def build(
    place: Path, dockerfile: str, *outputs: Output, tags: tuple[str, ...] = (), platforms: tuple[str, ...] = (),
    events: list[Event] | None = None,
) -> BuildResult:  # fmt: skip
    (place / "context").mkdir(exist_ok=True)
    (place / "context/file").write_text("content\n")
    request = BuildRequest(
        str(place / "context"), str(place / "store"), dockerfile_text=dockerfile, now_s=1.0, tags=tags, outputs=outputs,
        platforms=platforms,
    )  # fmt: skip
    return run_build(request, (events if events is not None else []).append, Cancel(), no_run)


def test_a_docker_archive_takes_the_zstd_layers_of_a_base(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        base = f"{registry.host}/team/base:1"
        build(tmp_path, "FROM scratch\nCOPY file /one\n", Output("registry", compression="zstd"), tags=(base,))
        dest = str(tmp_path / "out.tar")
        build(tmp_path, f"FROM {base}\nCOPY file /two\n", Output("docker", dest), tags=("app:1",))
        with tarfile.open(dest) as archive:
            index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
            name = index["manifests"][0]["digest"].replace(":", "/")
            manifest = json.load(archive.extractfile(f"blobs/{name}"))  # type: ignore[arg-type]
        kinds = [layer["mediaType"] for layer in manifest["layers"]]
        assert manifest["mediaType"] == media.OCI_MANIFEST
        assert kinds == [media.layer_media_type("oci", "zstd"), media.layer_media_type("oci", "gzip")]
        with pytest.raises(FirkinError) as caught:
            build(tmp_path, f"FROM {base}\nCOPY file /two\n", Output("docker", dest, media_family="docker"))
        assert caught.value.code == "assemble" and caught.value.hints == (Hint.of("output-mediatypes"),)


def test_missing_directories_are_made_before_the_build(tmp_path: Path) -> None:
    for output in (
        Output("docker", str(tmp_path / "a/b/image.tar")),
        Output("oci", str(tmp_path / "c/d/image.tar")),
        Output("oci", str(tmp_path / "e/f/layout"), tar=False),
        Output("tar", str(tmp_path / "g/h/files.tar")),
        Output("local", str(tmp_path / "i/j/files")),
    ):
        build(tmp_path, "FROM scratch\nCOPY file /one\n", output)
        assert Path(output.dest).exists()
        assert not [name for name in Path(output.dest).parent.iterdir() if name.name.startswith(".")]


@pytest.mark.parametrize("type", ["docker", "oci", "tar", "local"])
def test_a_place_that_cannot_be_written_fails_before_the_build(tmp_path: Path, type: OutputType) -> None:
    (tmp_path / "file").write_text("in the way")
    for dest in (tmp_path / "file/below", *((tmp_path,) if type != "local" else (tmp_path / "file",))):
        events: list[Event] = []
        with pytest.raises(UsageError, match=f"cannot write {dest}: ") as caught:
            build(tmp_path, "FROM scratch\nCOPY file /one\n", Output(type, str(dest)), events=events)
        assert caught.value.code == "output"
        assert not any(isinstance(event, Started) for event in events)


def test_a_directory_of_somebody_else_fails_before_the_build(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(UsageError, match="permission denied"):
        build(tmp_path, "FROM scratch\nCOPY file /one\n", Output("tar", str(tmp_path / "closed/a.tar")))


def test_the_names_of_outputs_are_names_of_the_result(tmp_path: Path) -> None:
    outputs = (Output(names=("one:1", "app")), Output("oci", str(tmp_path / "x.tar"), names=("archive:1",)))
    events: list[Event] = []
    result = build(tmp_path, "FROM scratch\nCOPY file /one\n", *outputs, tags=("app",), events=events)
    names = ("docker.io/library/app:latest", "docker.io/library/one:1")
    assert result.image.names == names == events[-1].names  # type: ignore[union-attr]
    assert json.loads(bytes(result.metadata))["image.name"] == ",".join(names)
    with Store(str(tmp_path / "store"), time.time) as store:
        assert {entry.name for entry in store.images.entries()} == set(names)


def test_one_size_of_an_image_wherever_it_is_told(tmp_path: Path) -> None:
    text = "FROM scratch\nCOPY file /one\nWORKDIR /one.d\nWORKDIR /two.d\nCOPY file /one\n"
    for platforms in ((), ("linux/amd64", "linux/arm64")):
        result = build(tmp_path, text, Output(), tags=("app",), platforms=platforms)
        with Store(str(tmp_path / "store"), time.time) as store:
            found = find_image(store, "app")
            blobs = {blob for image in found.images for blob in (
                image.config.digest, image.manifest.digest, *(layer.descriptor.digest for layer in image.layers)
            )} | ({found.index.digest} if found.index else set())  # fmt: skip
            on_disk = sum(store.blobs.size(blob) or 0 for blob in blobs)
        assert result.image.size_bytes == found.size_bytes == on_disk


@pytest.mark.parametrize("platforms", [(), ("linux/amd64", "linux/arm64")])
@pytest.mark.parametrize("family", ["oci", "docker"])
def test_the_digest_that_is_told_is_that_of_what_others_see(
    tmp_path: Path, platforms: tuple[str, ...], family: media.Family
) -> None:
    text = "FROM scratch\nCOPY file /one\n"
    archive = Output("oci", str(tmp_path / "x.tar"), media_family="docker" if family == "oci" else "oci")
    kept = Output(media_family=family)
    with FakeRegistry() as registry:
        name = f"{registry.host}/team/app:1"
        pushed = Output("registry", media_family=family, compression="zstd" if family == "oci" else "gzip")
        for outputs in ((archive, kept), (archive, pushed), (archive, kept, pushed), (pushed, kept, archive)):
            result = build(tmp_path, text, *outputs, tags=(name,), platforms=platforms)
            described = json.loads(bytes(result.metadata))
            assert described["containerimage.digest"] == result.image.digest
            assert described["containerimage.descriptor"]["mediaType"] == result.image.media_type
            if pushed in outputs:
                assert digest_of(registry.manifests["team/app", "1"][1]) == result.image.digest
            else:
                with Store(str(tmp_path / "store"), time.time) as store:
                    assert [entry.descriptor.digest for entry in store.images.entries()] == [result.image.digest]


def test_each_output_says_whether_times_are_rewritten(tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/file").write_text("content\n")
    os.utime(tmp_path / "context/file", (2000, 2000))
    own = {"asked": True, "refused": False, "silent": None}
    for number, everywhere in enumerate((False, True, False)):  # the last from the cache
        outputs = tuple(
            Output("oci", str(tmp_path / f"{name}-{number}"), tar=False, rewrite_timestamp=say)
            for name, say in own.items()
        )
        request = BuildRequest(
            str(tmp_path / "context"), str(tmp_path / "store"), dockerfile_text="FROM scratch\nCOPY file /\n",
            outputs=outputs, source_date_epoch=1000, rewrite_timestamp=everywhere,
        )  # fmt: skip
        run_build(request, lambda event: None, Cancel(), no_run)
        for output in outputs:
            rewritten = everywhere if output.rewrite_timestamp is None else output.rewrite_timestamp
            blobs = Path(output.dest) / "blobs"
            index = json.loads((Path(output.dest) / "index.json").read_bytes())
            manifest = json.loads((blobs / index["manifests"][0]["digest"].replace(":", "/")).read_bytes())
            (layer,) = manifest["layers"]
            with tarfile.open(blobs / layer["digest"].replace(":", "/")) as archive:
                assert archive.getmember("file").mtime == (1000 if rewritten else 2000)
            assert ("buildkit/rewritten-timestamp" in layer.get("annotations", {})) == rewritten

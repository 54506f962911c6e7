"""The executor image for two platforms, built on one of them: that of arm64 is whole, although nothing of it ran."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import REPOSITORY

from firkin import __version__

pytestmark = [
    pytest.mark.root,
    pytest.mark.registry,
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first run makes the bases
    pytest.mark.xdist_group("executor"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs a machine that is not arm64 itself"),
    pytest.mark.clients,
]
EMULATOR = shutil.which("qemu-aarch64-static")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the unpacked images: `debug-arm64` and so on; what was said and kept is in `said`."""
    place = tmp_path_factory.mktemp("images")
    command = [sys.executable, str(REPOSITORY / "images/build.py"), "--local-bases", "--output", str(place)]
    command += ["--platform", "linux/amd64,linux/arm64", "--", "--root", str(place / "store")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (place / "said").write_text(result.stdout)
    shutil.copy(place / "store/oci/index.json", place / "kept")
    shutil.rmtree(place / "store")
    with tarfile.open(place / "executor-debug.tar") as archive:

        def read(descriptor: dict) -> bytes:
            return archive.extractfile(f"blobs/{descriptor['digest'].replace(':', '/')}").read()  # type: ignore[union-attr]

        (entry, *_) = json.load(archive.extractfile("index.json"))["manifests"]  # type: ignore[arg-type]
        for image in json.loads(read(entry))["manifests"]:
            target = place / f"debug-{image['platform']['architecture']}"
            target.mkdir()
            manifest = json.loads(read(image))
            assert json.loads(read(manifest["config"]))["architecture"] == image["platform"]["architecture"]
            for layer in manifest["layers"]:
                subprocess.run(["tar", "-xzpf", "-", "-C", str(target)], input=read(layer), check=True)
    return place


@pytest.fixture(scope="module")
def files(built: Path) -> Path:
    return built / "debug-arm64"


def programs(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with open(path, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def readelf(*words: str | Path) -> str:
    return subprocess.run(["readelf", "-W", *words], capture_output=True, text=True, check=True).stdout


def test_one_name_has_both_platforms(built: Path) -> None:
    for target, suffix in (("latest", ""), ("debug", "-debug"), ("warmer", "-warmer")):
        said = rf"{target}: kept as \S+:{target} and \S+:v{__version__}{suffix} \(amd64: .* unpacked; arm64: .* unpacked\)"
        assert re.search(said, (built / "said").read_text())
    for entry in json.loads((built / "kept").read_text())["manifests"]:
        assert entry["mediaType"].endswith(("image.index.v1+json", "manifest.list.v2+json"))


def test_every_program_is_for_arm64(files: Path) -> None:
    found = list(programs(files))
    assert len(found) > 60 and files / "kaniko/rt/ld.so" in found and files / "busybox/busybox" in found
    for path in found:
        assert "AArch64" in readelf("-h", path), path
    assert "Requesting program interpreter: /kaniko/rt/ld.so]" in readelf("-l", files / "kaniko/rt/bin/python3")
    for name in ("executor", "warmer", "firkin"):
        assert "INTERP" not in readelf("-l", files / "kaniko" / name)


def test_every_library_that_is_needed_is_there(files: Path) -> None:
    """Where the loader looks: beside the wheel's other libraries, and in /kaniko/rt/so."""
    for path in programs(files):
        dynamic = readelf("-d", path)
        origins = re.findall(r"\(R(?:UN)?PATH\).*\[(.*)\]", dynamic)
        places = [Path(place.replace("$ORIGIN", str(path.parent))) for place in ":".join(origins).split(":") if place]
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
            assert any((place / name).exists() for place in (*places, files / "kaniko/rt/so")), (path, name)


def test_the_files_are_those_of_the_other_platform(built: Path) -> None:
    """But for names that hold digests of libraries."""

    def listed(root: Path, machine: str) -> dict[str, int]:
        found = (path for path in root.rglob("*") if "/rt/so/" not in str(path) and ".libs/" not in str(path))
        return {str(path.relative_to(root)).replace(machine, "MACHINE"): path.lstat().st_mode for path in found}

    arm = listed(built / "debug-arm64", "aarch64")
    assert arm == listed(built / "debug-amd64", "x86_64") and len(arm) > 1500


@pytest.mark.skipif(EMULATOR is None, reason="needs an emulator (Debian package qemu-user-static)")
def test_it_runs(files: Path, tmp_path: Path) -> None:
    """Started by the emulator, everything that is imported and loaded is the image's own."""
    root = tmp_path / "root"
    shutil.copytree(files, root, symlinks=True)
    shutil.copy(str(EMULATOR), root / "emulator")
    (root / "tmp/loads.py").write_text(
        "import glob, sys; sys.path.insert(0, sys.prefix + '/site')\n"
        "import ssl, sqlite3, ctypes, pycurl, msgspec, isal.isal_zlib, zstandard, obstore, dulwich.repo, rich.console\n"
        "for path in glob.glob(sys.prefix + '/lib/*/lib-dynload/*.so'): __import__(path.rpartition('/')[2].partition('.')[0])\n"
        "print(ctypes.CDLL('libgcc_s.so.1')._name, ctypes.CDLL('libnss_dns.so.2')._name)\n"
    )
    start = ["chroot", str(root), "/emulator", "/kaniko/rt/bin/python3", "-I", "-S", "-X", "utf8"]
    loaded = subprocess.run([*start, "/tmp/loads.py"], capture_output=True, text=True)
    assert loaded.stdout == "libgcc_s.so.1 libnss_dns.so.2\n", loaded.stderr
    version = subprocess.run([*start, "/kaniko/rt/main.py", "executor", "version"], capture_output=True, text=True)
    assert version.stdout == f"firkin {__version__}\n", version.stderr

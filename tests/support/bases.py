"""Base images of the tests, made from Debian packages and served under the names that Dockerfiles use.

Each is an OCI layout in the cache directory, made once. The language images build on the `debian` image and share
its layer. `python -m support.bases` (with tests/ on the path) makes all of them and prints how long each took. Images
of another architecture hold packages that were unpacked but not configured: nothing in them runs.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from support import layouts
from support.places import REPOSITORY, cache_directory, locked

SUITE = "bookworm"
PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Part of each recipe's digest: a new version makes all images anew.
RECIPE_VERSION = "1"
EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


@dataclass(frozen=True)
class Base:
    """One base image: the repositories and tags it is served under, and its contents.

    `architecture` is another one than this machine's; images for it hold the packages alone, without `on`.
    """

    key: str
    names: tuple[str, ...]
    packages: tuple[str, ...] = ()
    on: str = "debian"
    cmd: tuple[str, ...] = ("bash",)
    architecture: str = ""


BASES = {
    base.key: base
    for base in (
        Base("busybox", ("library/busybox:latest", "library/busybox:1.35"), on=""),
        Base("debian", ("library/debian:bookworm", "library/debian:bookworm-slim", "library/debian:12"), on=""),
        Base("node", ("library/node:18", "library/node:18-bookworm-slim"), ("nodejs",), cmd=("node",)),
        Base("python", ("library/python:3.11", "library/python:3.11-slim"), ("python3",), cmd=("python3",)),
        Base("php", ("library/php:8.2", "library/php:8.2-cli"), ("php8.2-cli",), cmd=("php", "-a")),
        Base("ruby", ("library/ruby:3.1", "library/ruby:3.1-slim"), ("ruby",), cmd=("irb",)),
        Base("postgres", ("library/postgres:15",), ("postgresql-15",)),
        Base("gcc", ("library/gcc:12", "library/gcc:12-bookworm"), ("gcc", "libc6-dev", "make")),
        # Contents of the executor image for arm64, on a machine of another architecture.
        Base("gcc-for-arm64", ("library/gcc:12",),
             ("gcc", "libc6-dev", "make", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross")),
        Base("busybox-arm64", ("library/busybox:1.35",), ("busybox-static",), cmd=("sh",), architecture="arm64"),
        Base("python-arm64", ("library/python:3.11-slim",), ("python3",), cmd=("python3",), architecture="arm64"),
        # The base of the benchmarks: see bench/make_workloads.py.
        Base("bench", ("library/bench:bookworm",), ("python3", "nodejs", "npm", "gcc", "libc6-dev")),
    )
}


def ensure_base(key: str) -> Path:
    """Return the OCI layout of a base image; makes it if it is not in the cache."""
    base = BASES[key]
    place = cache_directory() / "bases" / f"{key}-{_recipe(base)}"
    if (place / "index.json").exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock")):
        if not (place / "index.json").exists():
            temporary = place.with_name(f"{place.name}.tmp-{os.getpid()}")
            shutil.rmtree(temporary, ignore_errors=True)
            if base.architecture:
                _make_unpacked(base, temporary)
            elif key == "busybox":
                _make_busybox(temporary)
            else:
                _make_debian(base, temporary)
            shutil.rmtree(place, ignore_errors=True)
            temporary.rename(place)
    return place


def _recipe(base: Base) -> str:
    """Return a short digest of everything that a base image is made of."""
    if base.architecture:
        parts = [RECIPE_VERSION, SUITE, base.architecture, *base.packages, "|", *base.cmd]
    elif base.key == "busybox":
        parts = [RECIPE_VERSION, hashlib.sha256(Path("/bin/busybox").read_bytes()).hexdigest()]
    else:
        parts = [RECIPE_VERSION, SUITE, *EXCLUDED, *base.packages, "|", *base.cmd]
        if base.on:
            parts.append(_recipe(BASES[base.on]))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _make_busybox(place: Path) -> None:
    script = REPOSITORY / "tests/conformance/bases/make_base.py"
    tags = [argument for tag in ("latest", "1.35") for argument in ("--tag", tag)]
    subprocess.run([sys.executable, str(script), str(place), *tags], check=True, stdout=subprocess.DEVNULL)


def _tarball(base: Base) -> Path:
    """Return the whole root file system of a Debian base as a tar, made by mmdebstrap."""
    tar = cache_directory() / "bases" / f"{base.key}-{_recipe(base)}.tar"
    if tar.exists():
        return tar
    temporary = tar.with_name(f"tmp-{os.getpid()}-{tar.name}")
    command = ['--aptopt=APT::Install-Recommends "false"']
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    if base.on:
        below = _tarball(BASES[base.on])
        command += ["--variant=custom", f'--setup-hook=tar --directory="$1" --exclude="./dev/*" -xpf {below}']
        command += [f"--include={','.join(base.packages)}"]
    else:
        command += ["--variant=minbase"]
    # Generated names and times must not enter an image that is to be reproducible.
    command += [
        '--customize-hook=rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/log/*.log "$1"/var/log/apt/*',
        '--customize-hook=rm -rf "$1"/var/cache/ldconfig/aux-cache "$1"/var/cache/debconf/*-old',
    ]
    try:
        _mmdebstrap(*command, SUITE, str(temporary), key=base.key)
        temporary.rename(tar)
    finally:
        temporary.unlink(missing_ok=True)
    return tar


def _make_unpacked(base: Base, place: Path) -> None:
    tar = place.with_suffix(".tar")
    _mmdebstrap("--variant=extract", f"--architectures={base.architecture}",
                f"--include={','.join(base.packages)}", SUITE, str(tar), key=base.key)  # fmt: skip
    layers = [layouts.compress_layer(tar, place / "blobs" / "sha256")]
    tar.unlink()
    tags = [name.rpartition(":")[2] for name in base.names]
    layouts.write_layout(place, layers, {"Env": [PATH_ENV], "Cmd": list(base.cmd)}, tags, base.architecture)


def _mmdebstrap(*words: str, key: str) -> None:
    result = subprocess.run(
        ["mmdebstrap", "--quiet", "--format=tar", *words],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(layouts.EPOCH)},
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"mmdebstrap could not make the base {key}:\n{result.stdout}{result.stderr}")


def _make_debian(base: Base, place: Path) -> None:
    blobs = place / "blobs" / "sha256"
    if base.on:
        below = ensure_base(base.on)
        full, own = _tarball(base), place.with_suffix(".layer")
        layouts.subtract_tar(full, _tarball(BASES[base.on]), own)
        layers = [*_layers_of(below), layouts.compress_layer(own, blobs)]
        own.unlink()
        full.unlink()
    else:
        layers = [layouts.compress_layer(_tarball(base), blobs)]
    tags = [name.rpartition(":")[2] for name in base.names]
    layouts.write_layout(place, layers, {"Env": [PATH_ENV], "Cmd": list(base.cmd)}, tags)


def _layers_of(layout: Path) -> list[layouts.LayerBlob]:
    _, raw = layouts.read_manifest(layout)
    manifest = json.loads(raw)
    blobs = layout / "blobs" / "sha256"
    config = json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text())
    return [
        layouts.LayerBlob(descriptor, diff_id, blobs / descriptor["digest"].partition(":")[2])
        for descriptor, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)
    ]


def main() -> None:
    """Make the base images named on the command line, by default all except the one for benchmarks."""
    for key in sys.argv[1:] or [key for key in BASES if key != "bench"]:
        begin = time.monotonic()
        place = ensure_base(key)
        size = sum(path.stat().st_size for path in (place / "blobs/sha256").iterdir())
        print(f"{key:8} {time.monotonic() - begin:6.1f} s {size / 1e6:8.1f} MB  {place}")


if __name__ == "__main__":
    main()

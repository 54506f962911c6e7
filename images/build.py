"""Build the executor image with firkin itself: `python images/build.py [--name NAME] [--push NAME] [-- OPTIONS]`.

The image is kept in firkin's store under its name, with the tags of Kaniko's: `latest` and `vVERSION` (no shell),
`debug` and `vVERSION-debug` (busybox), `warmer` and `vVERSION-warmer`. Wheels come from pip, bases from Docker Hub, a
mirror (`-- --registry-mirror http://HOST:PORT`), or Debian packages (`--local-bases`). What follows `--` goes to
`firkin build`. `--platform linux/amd64,linux/arm64` builds for both: nothing for the other architecture is started, and
Debian's compiler for it is installed in a build stage.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firkin.oci.platform import Platform, host_platform, parse_platform

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON_VERSION = "3.11"
TARGETS = ("latest", "debug", "warmer")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def tags(target: str, version: str) -> tuple[str, str]:
    """Return the tags of a target, the moving one first, spelled as Kaniko's are."""
    return target, f"v{version}" if target == "latest" else f"v{version}-{target}"


def parse_platforms(text: str, host: Platform) -> list[Platform]:
    """Parse `linux/amd64,linux/arm64`; nothing is the host's. Raises ValueError for one that there is no image for."""
    known = [Platform("linux", architecture) for architecture in MACHINES]
    found = [parse_platform(item.strip(), host) for item in text.split(",") if item.strip()] or [host]
    for platform in found:
        if platform not in known:
            raise ValueError(f"there is no executor image for {platform}, only for {' and '.join(map(str, known))}")
    return list(dict.fromkeys(found))


def collect_wheels(place: Path, architectures: list[str]) -> str:
    """Build firkin's wheel, fetch those of its dependencies for the image's interpreter; return firkin's version."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(place), str(REPOSITORY)], check=True)
    (wheel,) = place.glob("firkin-*.whl")
    for architecture in architectures:
        machine = MACHINES[architecture]
        # The base has glibc 2.36 or newer; 2.17 is the oldest that has such a tag for arm64.
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 16, -1)]
        subprocess.run(
            [*pip, "download", "--only-binary=:all:", f"--python-version={PYTHON_VERSION}", "--implementation=cp",
             *(f"--platform={platform}" for platform in (*platforms, f"manylinux2014_{machine}")),
             "--dest", str(place / architecture), f"{wheel}[object-store]", "certifi"],
            check=True,
        )  # fmt: skip
    return wheel.name.split("-")[1]


def build(wheels: Path, target: str, outputs: list[str], names: list[str], options: list[str]) -> None:
    """Build one target, keep it under `names`, and write the other outputs."""
    command = [sys.executable, "-m", "firkin", "build", "-f", str(REPOSITORY / "images/executor.Dockerfile"),
               "--target", target, "--build-context", f"wheels={wheels}", "--load",
               *(word for name in names for word in ("--tag", name)),
               *(word for output in outputs for word in ("--output", output)), *options, str(REPOSITORY)]  # fmt: skip
    code = subprocess.run(command).returncode
    if code:  # firkin has said why
        sys.exit(code)


@contextlib.contextmanager
def local_bases(foreign: list[str]) -> Iterator[list[str]]:
    """Make the bases as the tests do, serve them, and give the options that name the server. Needs root.

    `foreign` are the architectures other than this machine's.
    """
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from support.registry import running_registry

    with running_registry() as registry:
        registry.seed_bases("busybox", "python", "gcc", *(f"gcc-for-{architecture}" for architecture in foreign))
        for key in ("busybox", "python") if foreign else ():
            registry.seed_platforms(key, *(f"{key}-{architecture}" for architecture in foreign))
        yield ["--registry-mirror", f"docker.io={registry.url}"]


def describe(archive: Path) -> str:
    """Return how large an image is: as a registry keeps it, and unpacked; for each platform where it has several."""
    with tarfile.open(archive) as outer:

        def read(path: str) -> Any:
            return json.load(outer.extractfile(path))  # type: ignore[arg-type]

        def blob(descriptor: dict[str, Any]) -> str:
            return f"blobs/{descriptor['digest'].replace(':', '/')}"

        def size(manifest: dict[str, Any]) -> str:
            packed = unpacked = 0
            for layer in manifest["layers"]:
                packed += layer["size"]
                with tarfile.open(fileobj=outer.extractfile(blob(layer))) as inner:
                    unpacked += sum(member.size for member in inner)
            return f"{packed / 1e6:.1f} MB compressed, {unpacked / 1e6:.1f} MB unpacked"

        found = read(blob(read("index.json")["manifests"][0]))
        if "manifests" not in found:
            return size(found)
        each = ((entry["platform"]["architecture"], read(blob(entry))) for entry in found["manifests"])
        return "; ".join(f"{architecture}: {size(manifest)}" for architecture, manifest in each)


def main() -> None:
    host = host_platform("linux", os.uname().machine)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="firkin/executor", help="keep it as NAME (default: %(default)s)")
    parser.add_argument("--push", metavar="NAME", help="push it as NAME, with all tags")
    parser.add_argument("--platform", metavar="OS/ARCH[,...]", default="", help=f"build for these (default: {host})")
    parser.add_argument("--output", type=Path, help="write archives (executor-latest.tar, ...) there")
    parser.add_argument("--local-bases", action="store_true", help="make the bases from Debian packages")
    parser.add_argument("options", nargs="*", help="further options of `firkin build`")
    arguments = parser.parse_args()
    try:
        platforms = parse_platforms(arguments.platform, host)
    except ValueError as error:
        parser.error(f"--platform: {error}")
    foreign = [platform.architecture for platform in platforms if platform != host]
    if arguments.local_bases and foreign not in ([], ["arm64"]):
        parser.error("--local-bases makes those of arm64 and of this machine only; leave it out, or --platform")
    options = ["--platform", ",".join(map(str, platforms)), *arguments.options]
    bases = local_bases(foreign) if arguments.local_bases else contextlib.nullcontext([])
    with tempfile.TemporaryDirectory() as scratch, bases as base_options:
        wheels, output = Path(scratch, "wheels"), arguments.output or Path(scratch)
        wheels.mkdir()
        output.mkdir(parents=True, exist_ok=True)
        version = collect_wheels(wheels, [platform.architecture for platform in platforms])
        for target in TARGETS:
            names = [f"{arguments.name}:{tag}" for tag in tags(target, version)]
            pushed = [f"{arguments.push}:{tag}" for tag in tags(target, version)] if arguments.push else []
            archive = output / f"executor-{target}.tar"
            # What `docker load` reads has one platform.
            outputs = [f"type={'docker' if len(platforms) == 1 else 'oci'},dest={archive}"]
            outputs += [f'type=registry,"name={",".join(pushed)}"'] if pushed else []
            build(wheels, target, outputs, names, base_options + options)
            print(f"{target}: kept as {' and '.join(names)} ({describe(archive)})")
            if pushed:
                print(f"{target}: pushed as {' and '.join(pushed)}")
    if not arguments.push:
        tag = tags("latest", version)[1]
        print(f"push it: firkin push {arguments.name}:{tag} REGISTRY/executor:{tag}")


if __name__ == "__main__":
    main()

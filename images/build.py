"""Build the executor image with firkin itself: `python images/build.py [--name NAME] [--push NAME] [-- OPTIONS]`.

The image is kept in firkin's store under its name, with the tags of Kaniko's: `latest` and `vVERSION` (no shell),
`debug` and `vVERSION-debug` (busybox), `warmer` and `vVERSION-warmer`. Wheels come from pip, bases from Docker Hub, a
mirror (`-- --registry-mirror http://HOST:PORT`), or Debian packages (`--local-bases`). What follows `--` goes to
`firkin build`. With `--platform` it is built for another architecture, which this machine must be able to run.
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

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON_VERSION = "3.11"
TARGETS = ("latest", "debug", "warmer")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def tags(target: str, version: str) -> tuple[str, str]:
    """Return the tags of a target, the moving one first, spelled as Kaniko's are."""
    return target, f"v{version}" if target == "latest" else f"v{version}-{target}"


def host_architecture() -> str:
    machine = os.uname().machine
    return next((name for name, spelled in MACHINES.items() if spelled == machine), machine)


def collect_wheels(place: Path, architectures: list[str]) -> str:
    """Build firkin's wheel, fetch those of its dependencies for the image's interpreter; return firkin's version."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(place), str(REPOSITORY)], check=True)
    (wheel,) = place.glob("firkin-*.whl")
    for architecture in architectures:
        machine = MACHINES.get(architecture, architecture)
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in (36, 34, 31, 28, 26, 17)]
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
    subprocess.run(command, check=True)


@contextlib.contextmanager
def local_bases() -> Iterator[list[str]]:
    """Make the bases as the tests do, serve them, and give the options that name the server. Needs root."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from support.registry import running_registry

    with running_registry() as registry:
        registry.seed_bases("busybox", "python", "gcc")
        yield ["--registry-mirror", f"docker.io={registry.url}"]


def describe(archive: Path) -> str:
    """Return how large an image is: as a registry keeps it, and unpacked."""
    with tarfile.open(archive) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        packed = unpacked = 0
        for layer in manifest["Layers"]:
            packed += outer.getmember(layer).size
            with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
                unpacked += sum(member.size for member in inner)
    return f"{packed / 1e6:.1f} MB compressed, {unpacked / 1e6:.1f} MB unpacked"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="firkin/executor", help="keep it as NAME (default: %(default)s)")
    parser.add_argument("--push", metavar="NAME", help="push it as NAME, with all tags")
    parser.add_argument("--platform", metavar="OS/ARCH[,...]", default="", help="build for these platforms")
    parser.add_argument("--output", type=Path, help="write archives (executor-latest.tar, ...) there")
    parser.add_argument("--local-bases", action="store_true", help="make the bases from Debian packages")
    parser.add_argument("options", nargs="*", help="further options of `firkin build`")
    arguments = parser.parse_args()
    platforms = [item for item in arguments.platform.split(",") if item]
    architectures = [item.split("/")[1] for item in platforms] or [host_architecture()]
    if arguments.output and len(architectures) > 1:
        parser.error("--output writes archives of one platform; push the image, or name one")
    options = ["--platform", arguments.platform, *arguments.options] if platforms else arguments.options
    bases = local_bases() if arguments.local_bases else contextlib.nullcontext([])
    with tempfile.TemporaryDirectory() as scratch, bases as base_options:
        wheels, output = Path(scratch, "wheels"), arguments.output or Path(scratch)
        wheels.mkdir()
        output.mkdir(parents=True, exist_ok=True)
        version = collect_wheels(wheels, architectures)
        for target in TARGETS:
            names = [f"{arguments.name}:{tag}" for tag in tags(target, version)]
            pushed = [f"{arguments.push}:{tag}" for tag in tags(target, version)] if arguments.push else []
            archive = output / f"executor-{target}.tar"
            outputs = [f"type=docker,dest={archive}"] if len(architectures) == 1 else []
            outputs += [f'type=registry,"name={",".join(pushed)}"'] if pushed else []
            build(wheels, target, outputs, names, base_options + options)
            size = f" ({describe(archive)})" if outputs and archive.exists() else ""
            print(f"{target}: kept as {' and '.join(names)}{size}")
            if pushed:
                print(f"{target}: pushed as {' and '.join(pushed)}")
    if not arguments.push:
        tag = tags("latest", version)[1]
        print(f"push it: firkin push {arguments.name}:{tag} REGISTRY/executor:{tag}")


if __name__ == "__main__":
    main()

"""Build the executor image with firkin itself: `python images/build.py [--push NAME] [--output DIR] [-- OPTIONS]`.

Wheels come from pip, bases from Docker Hub, a mirror (`-- --registry-mirror http://HOST:PORT`), or Debian packages
(`--local-bases`). What follows `--` goes to `firkin build`. Prints the size of each target.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON_VERSION = "3.11"
TARGETS = ("latest", "debug")


def collect_wheels(place: Path) -> None:
    """Build firkin's wheel, and fetch those of its dependencies for the image's interpreter."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(place), str(REPOSITORY)], check=True)
    (wheel,) = place.glob("firkin-*.whl")
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (36, 34, 31, 28, 26, 17)] + [f"manylinux2014_{machine}"]
    subprocess.run(
        [*pip, "download", "--only-binary=:all:", f"--python-version={PYTHON_VERSION}", "--implementation=cp",
         *(f"--platform={platform}" for platform in platforms), "--dest", str(place),
         f"{wheel}[object-store]", "certifi"],
        check=True,
    )  # fmt: skip


def build(wheels: Path, target: str, archive: Path, names: list[str], options: list[str]) -> None:
    """Build one target into a docker archive, and push it under `names`."""
    command = [sys.executable, "-m", "firkin", "build", "-f", str(REPOSITORY / "images/executor.Dockerfile"),
               "--target", target, "--build-context", f"wheels={wheels}", "--output", f"type=docker,dest={archive}",
               *(word for name in names for word in ("--tag", name)), *(["--push"] if names else []),
               *options, str(REPOSITORY)]  # fmt: skip
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--push", metavar="NAME", help="push NAME:latest and NAME:debug")
    parser.add_argument("--output", type=Path, help="keep the archives (executor-latest.tar, ...) there")
    parser.add_argument("--local-bases", action="store_true", help="make the bases from Debian packages")
    parser.add_argument("options", nargs="*", help="further options of `firkin build`")
    arguments = parser.parse_args()
    bases = local_bases() if arguments.local_bases else contextlib.nullcontext([])
    with tempfile.TemporaryDirectory() as scratch, bases as base_options:
        wheels, output = Path(scratch, "wheels"), arguments.output or Path(scratch)
        wheels.mkdir()
        output.mkdir(parents=True, exist_ok=True)
        collect_wheels(wheels)
        for target in TARGETS:
            archive = output / f"executor-{target}.tar"
            names = [f"{arguments.push}:{target}"] if arguments.push else []
            build(wheels, target, archive, names, base_options + arguments.options)
            print(f"{target}: {describe(archive)}")


if __name__ == "__main__":
    main()

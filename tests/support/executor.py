"""The executor image for tests: firkin builds it from the current sources; it is kept until they change."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from support.container import Bind, Container
from support.places import REPOSITORY, cache_directory, locked
from support.registry import Registry

BASES = ("busybox", "python", "gcc")


@dataclass(frozen=True)
class ExecutorImage:
    """An unpacked executor image. `target` is latest or debug."""

    files: Path
    config: dict[str, Any]
    archive: Path

    def container(self, place: Path, *binds: Bind) -> Container:
        """Return an unprivileged container of the image; its changes go below `place`."""
        env = dict(item.split("=", 1) for item in self.config["Env"])
        return Container(self.files, place, binds=binds, env=env)


def executor_image(target: str, registry: Registry) -> ExecutorImage:
    """Return the image; builds it when the sources have changed. Tests must be allowed to seed the registry."""
    checkout = cache_directory() / f"executor-{hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:8]}"
    place = checkout / _sources()
    with locked(cache_directory() / "executor.lock"):
        if not (place / "done").exists():
            if checkout.exists():
                shutil.rmtree(checkout)  # its sources have changed; images of other checkouts stay
            checkout.mkdir()
            registry.seed_bases(*BASES)
            command = [sys.executable, str(REPOSITORY / "images/build.py"), "--output", str(place), "--"]
            command += ["--root", str(place / "store"), "--registry-mirror", f"docker.io={registry.url}"]
            result = subprocess.run(command, capture_output=True, text=True, timeout=280)
            assert result.returncode == 0, result.stdout + result.stderr
            (place / "sizes").write_text(result.stdout)
            shutil.copy(place / "store/oci/index.json", place / "names")
            for name in ("latest", "debug"):
                _unpack(place / f"executor-{name}.tar", place / name)
            shutil.rmtree(place / "store")
            (place / "done").touch()
    return ExecutorImage(place / target, json.loads((place / f"{target}.json").read_text()),
                         place / f"executor-{target}.tar")  # fmt: skip


@cache
def _sources() -> str:
    """Return a short digest of the image's sources, as they were when the tests began."""
    places = [REPOSITORY / "pyproject.toml", *(REPOSITORY / "images").rglob("*"), *(REPOSITORY / "src").rglob("*.py")]
    hasher = hashlib.sha256()
    for path in sorted(path for path in places if path.is_file() and path.suffix != ".pyc"):
        hasher.update(f"{path.relative_to(REPOSITORY)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return hasher.hexdigest()[:16]


def _unpack(archive: Path, target: Path) -> None:
    target.mkdir()
    with tarfile.open(archive) as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())[0]  # type: ignore[union-attr]
        config = json.loads(tar.extractfile(manifest["Config"]).read())  # type: ignore[union-attr]
        for layer in manifest["Layers"]:
            data = tar.extractfile(layer).read()  # type: ignore[union-attr]
            subprocess.run(["tar", "-xzpf", "-", "-C", str(target)], input=data, check=True)
    (target.parent / f"{target.name}.json").write_text(json.dumps(config["config"]))

"""Firkin in the three environments in which it must give the same result: one interface, `Pair.build`.

namespaces   root on this machine
chroot       a pod: Docker's capabilities, no mounts, no namespaces; firkin is this checkout
inplace      the same pod, with an image that holds only firkin
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.bases import ensure_base
from support.container import Bind, Container, checkout_binds, image_files
from support.places import REPOSITORY
from support.runtime import OWN, PYTHON, executor_files

NAMES = ("namespaces", "chroot", "inplace")
BASES = {"busybox": "latest", "debian": "bookworm"}
FIRKIN = ("-m", "firkin")


@dataclass
class Built:
    """The result of one build: the process and, if it succeeded, the image's files."""

    status: int
    said: str
    image: Path

    def tree(self) -> dict[str, tuple[object, ...]]:
        """Return path → kind, mode, owner, content and attributes, with all layers applied."""
        return flatten(self.image)

    def layer_names(self, number: int) -> list[str]:
        """Return the names in one layer; -1 is the last."""
        with tarfile.open(self.image) as outer:
            return [member.name for member in _layers(outer)[number][1]]

    def members(self) -> list[list[tarfile.TarInfo]]:
        """Return the entries of each layer, the lowest first."""
        with tarfile.open(self.image) as outer:
            return [members for _, members in _layers(outer)]


class Pair:
    """One of the environments, with its own directory below `place` that outlives its commands."""

    def __init__(self, name: str, place: Path) -> None:
        self.name = name
        self.place = place
        self.number = 0
        self.shared = place / "shared"
        self.shared.mkdir(parents=True)
        self.shared.chmod(0o755)
        bases = tuple(Bind(ensure_base(key), f"/bases/{key}") for key in BASES)
        shared = Bind(self.shared, "/shared", writable=True)
        if name == "chroot":
            self.container = Container(image_files("python"), place / "c", (*checkout_binds(), shared, *bases))
        elif name == "inplace":
            env = {"PYTHONPATH": f"{OWN}/site", "PATH": f"{OWN}/python/bin:/busybox"}
            self.container = Container(executor_files(), place / "c", (shared, *bases), env=env)

    @property
    def python(self) -> str:
        return PYTHON if self.name == "inplace" else sys.executable

    def inside(self, path: Path) -> str:
        """Return firkin's view of a path below `shared`."""
        return str(path) if self.name == "namespaces" else f"/shared/{path.relative_to(self.shared)}"

    def context(self, dockerfile: str, files: Mapping[str, str | bytes] | None = None) -> Path:
        """Make a new context."""
        self.number += 1
        place = self.shared / f"context-{self.number}"
        place.mkdir()
        (place / "Dockerfile").write_text(dockerfile)
        for name, data in (files or {}).items():
            (place / name).write_bytes(data.encode() if isinstance(data, str) else data)
            if name.endswith(".sh") or data[:4] == b"\x7fELF":
                (place / name).chmod(0o755)
        return place

    def arguments(self, context: Path, *options: str) -> list[str]:
        """Return the command line of a build of this context, for use inside."""
        host = self.name == "namespaces"
        bases = [
            f"--build-context={key}=oci-layout://{ensure_base(key) if host else f'/bases/{key}'}:{tag}"
            for key, tag in BASES.items()
        ]
        output = f"type=oci,dest={self.inside(context)}.tar"
        common = ["--root", self.store, "--isolation", self.name, "--progress", "plain", "-o", output, *bases]
        return [self.python, *FIRKIN, "build", *common, *options, self.inside(context)]

    @property
    def store(self) -> str:
        return {"namespaces": f"{self.place}/store", "chroot": "/var/lib/firkin", "inplace": f"{OWN}/store"}[self.name]

    def build(
        self,
        dockerfile: str,
        files: Mapping[str, str | bytes] | None = None,
        *options: str,
        env: Mapping[str, str] | None = None,
        status: int = 0,
    ) -> Built:
        """Build, and check the exit status."""
        context = self.context(dockerfile, files)
        result = self.run(self.arguments(context, *options), env=env)
        said = result.stdout + result.stderr
        assert result.returncode == status, said
        return Built(result.returncode, said, context.with_suffix(".tar"))

    def run(self, argv: list[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command where firkin runs."""
        if self.name != "namespaces":
            return self.container.run(argv, env=env, check=False)
        return subprocess.run(
            argv, env=self.environment(env), capture_output=True, text=True, errors="replace", timeout=120
        )

    def popen(self, argv: list[str], env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start a command where firkin runs; a signal to it reaches firkin."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        if self.name != "namespaces":
            return subprocess.Popen(self.container.command(argv, env=env), **options)  # type: ignore[call-overload]
        return subprocess.Popen(argv, env=self.environment(env), **options)  # type: ignore[call-overload]

    def environment(self, env: Mapping[str, str] | None) -> dict[str, str]:
        home = self.place / "home"
        home.mkdir(exist_ok=True)
        path = os.environ.get("PATH", "/usr/bin:/bin")
        return {"PATH": path, "HOME": str(home), "PYTHONPATH": str(REPOSITORY / "src"), **(env or {})}


def _layers(outer: tarfile.TarFile) -> list[tuple[tarfile.TarFile, list[tarfile.TarInfo]]]:
    def read(digest: str) -> "tarfile.ExFileObject":
        found = outer.extractfile(f"blobs/sha256/{digest.partition(':')[2]}")
        assert found is not None
        return found  # type: ignore[return-value]

    index = json.load(outer.extractfile("index.json"))  # type: ignore[arg-type]
    manifest = json.load(read(index["manifests"][0]["digest"]))
    opened = [tarfile.open(fileobj=read(layer["digest"])) for layer in manifest["layers"]]
    return [(layer, layer.getmembers()) for layer in opened]


def flatten(image: Path) -> dict[str, tuple[object, ...]]:
    """Return the files of an image in an OCI archive: path → kind, mode, owner, content and attributes."""
    tree: dict[str, tuple[object, ...]] = {}
    with tarfile.open(image) as outer:
        for layer, members in _layers(outer):
            for member in members:
                folder, _, name = member.name.strip("/").rpartition("/")
                if name.startswith(".wh."):
                    gone = folder if name == ".wh..wh..opq" else f"{folder}/{name[4:]}".strip("/")
                    for path in [path for path in tree if path.startswith(f"{gone}/")]:
                        del tree[path]
                    if name != ".wh..wh..opq":
                        tree.pop(gone, None)
            for member in members:
                path = member.name.strip("/")
                if path.rpartition("/")[2].startswith(".wh."):
                    continue
                if not member.isdir():
                    for below in [each for each in tree if each.startswith(f"{path}/")]:
                        del tree[below]
                tree[path] = _facts(layer, member, tree)
    return tree


def _facts(layer: tarfile.TarFile, member: tarfile.TarInfo, tree: dict[str, tuple[object, ...]]) -> tuple[object, ...]:
    if member.islnk():
        return tree[member.linkname.strip("/")]
    content = ""
    if member.isreg():
        file = layer.extractfile(member)
        content = hashlib.sha256(file.read() if file else b"").hexdigest()
    attributes = tuple(sorted((k, v) for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr")))
    kind = member.type.decode()
    return kind, member.mode, member.uid, member.gid, member.linkname or content, attributes

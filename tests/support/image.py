"""An image that firkin wrote as an OCI layout directory, read with Python's own tools."""

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.accounts import Firkin


@dataclass(frozen=True)
class Layer:
    """A layer's archive: its members by name, and the text of its files."""

    members: dict[str, tarfile.TarInfo]
    contents: dict[str, bytes]


@dataclass(frozen=True)
class BuiltImage:
    """Manifest, configuration and layers; `log` is firkin's output during the build."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: tuple[Layer, ...]
    log: str = ""

    @property
    def runtime(self) -> dict[str, Any]:
        return dict(self.config["config"])

    def text(self, path: str) -> str:
        """Return a file of the topmost layer that has it."""
        for layer in reversed(self.layers):
            if path in layer.contents:
                return layer.contents[path].decode()
        raise KeyError(path)

    def member(self, path: str) -> tarfile.TarInfo:
        """Return a path's entry in the topmost layer that has it."""
        return next(layer.members[path] for layer in reversed(self.layers) if path in layer.members)

    def names(self) -> set[str]:
        """Return every path of every layer."""
        return {name for layer in self.layers for name in layer.members}


def read_layout(place: Path, log: str = "") -> BuiltImage:
    """Read the only image of a layout."""

    def blob(digest: str) -> bytes:
        return (place / "blobs" / digest.replace(":", "/")).read_bytes()

    index = json.loads((place / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    layers = []
    for descriptor in manifest["layers"]:
        data = blob(descriptor["digest"])
        data = gzip.decompress(data) if descriptor["mediaType"].endswith("gzip") else data
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = {member.name: member for member in archive}
            contents = {}
            for name, member in members.items():
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    contents[name] = file.read()
        layers.append(Layer(members, contents))
    return BuiltImage(manifest, json.loads(blob(manifest["config"]["digest"])), tuple(layers), log)


def build_image(firkin: Firkin, *arguments: Any, **options: Any) -> BuiltImage:
    """Build an image and read it; takes the arguments of `firkin build`."""
    number = sum(1 for path in firkin.place.iterdir() if path.name.startswith("image-"))
    place = firkin.directory(f"image-{number}")
    result = firkin.run("build", "-o", f"type=oci,dest={place},tar=false", *arguments, **options)
    return read_layout(place, result.stdout + result.stderr)

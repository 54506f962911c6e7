"""What the images of containers are called now. Does I/O.

A container was made of an image under some name. Lists show that name as long as it means the same image, and the
image's id once it means another one, or none. Mirrors: moby daemon/list.go, refreshImage.
"""

from __future__ import annotations

from firkin.containers.documents.record import Record
from firkin.containers.home.engine import Engine
from firkin.errors import StoreError, UsageError
from firkin.oci.config import ImageConfig, parse_config
from firkin.oci.digest import Digest
from firkin.oci.manifest import Manifest, parse_manifest
from firkin.oci.reference import parse_reference
from firkin.store.blobs import Blobs
from firkin.store.images import Images
from firkin.store.layout import StoreLayout

_Steps = tuple[tuple[str, str], ...]


class ImageNames:
    """The names of one store's images; each is looked up once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        layout = StoreLayout(engine.root)
        self._images, self._blobs = Images(layout), Blobs(layout)
        self._meant: dict[str, frozenset[str]] = {}
        self._asked: dict[str, tuple[str, _Steps]] = {}
        self._steps: dict[str, _Steps] = {}

    def shown(self, record: Record) -> str:
        """Return the name that the container was made of if it means its image still, else the image's id."""
        name = record.config.image
        known = self._meant.get(name)
        if known is None:
            known = self._meant[name] = self._ids_of(name)
        return name if record.image in known or _is_id(name, record.image) else record.image

    def is_from(self, text: str, record: Record) -> bool:
        """Say whether a container's image is the one that a text means, or was built on it."""
        if text not in self._asked:
            self._asked[text] = self._found(text)
        id, steps = self._asked[text]
        if record.image == id or not steps:
            return record.image == id
        if record.image not in self._steps:
            self._steps[record.image] = self._steps_of(record.image)
        return self._steps[record.image][: len(steps)] == steps

    def _ids_of(self, name: str) -> frozenset[str]:
        """Return the ids that a name stands for: one, or those of several platforms."""
        try:
            root = self._images.find(parse_reference(name))
            if root is None:
                return frozenset()
            document = parse_manifest(self._blobs.read(root.digest), root.media_type)
            if isinstance(document, Manifest):
                return frozenset((document.config.digest,))
            here = (child for child in document.manifests if self._blobs.size(child.digest) is not None)
            parts = [parse_manifest(self._blobs.read(child.digest), child.media_type) for child in here]
            return frozenset(part.config.digest for part in parts if isinstance(part, Manifest))
        except (ValueError, StoreError):
            return frozenset()

    def _found(self, text: str) -> tuple[str, _Steps]:
        """Return the id of an image and its steps, nothing if there is none. As in docker that is no error."""
        from firkin.images.find import find_image

        try:
            with self._engine.store() as store:
                found = find_image(store, text)
        except (UsageError, StoreError):
            return "", ()
        return found.id, _steps(found.image.config)

    def _steps_of(self, id: str) -> _Steps:
        try:
            return _steps(parse_config(self._blobs.read(Digest(id))))
        except (ValueError, StoreError):
            return ()


def _steps(config: ImageConfig) -> _Steps:
    """Return the history of an image with the layer of each step: what was built on an image begins as it does."""
    layers = iter(config.diff_ids)
    steps = [(repr(entry), "" if entry.empty_layer else next(layers, "")) for entry in config.history]
    return (*steps, *(("", layer) for layer in layers))


def _is_id(name: str, id: str) -> bool:
    """Say whether a name is an id, or the beginning of one."""
    start = name.removeprefix("sha256:")
    return bool(start) and id.removeprefix("sha256:").startswith(start)

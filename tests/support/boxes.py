"""Engines with a small image for tests of the operations in `firkin/containers/`; nothing in it can run."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path

from firkin.containers.create import create
from firkin.containers.documents.config import Config, CreateRequest, HostConfig
from firkin.containers.home.engine import Engine
from firkin.containers.keeping.image import image_for
from firkin.containers.opening import open_engine
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.image import Image, Layer, assemble
from firkin.oci.reference import parse_reference
from firkin.store.store import Store

BOX = "box:1"


def layer_of(*entries: str) -> bytes:
    """Return a layer with directories (`data/`) and files (`data/file`, whose content is their name)."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for entry in entries:
            item = tarfile.TarInfo(entry.rstrip("/"))
            if entry.endswith("/"):
                item.type, item.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(item)
            else:
                item.size = len(entry)
                tar.addfile(item, io.BytesIO(entry.encode()))
    return target.getvalue()


def box_image(*layers: bytes, **config: object) -> Image:
    """Return an image with plain tars as layers; `config` are keys of its configuration, such as Cmd and Volumes."""
    digests = [digest_of(data) for data in layers]
    raw = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"], **config},
        "rootfs": {"type": "layers", "diff_ids": digests},
    }).encode()  # fmt: skip
    described = tuple(
        Layer(digest, Descriptor(media.OCI_LAYER, digest, len(data)))  # type: ignore[arg-type]
        for digest, data in zip(digests, layers, strict=True)
    )
    return assemble(parse_config(raw), described, "oci")


def keep_box(root: str, *layers: bytes, name: str = BOX, **config: object) -> Image:
    """Put an image into a store, which is made if it is missing."""
    layers = layers or (layer_of("bin/", "bin/sh", "data/", "data/file"),)
    image = box_image(*layers, **config)
    with Store(root, time.time) as store:
        for raw in (*layers, image.config.raw, image.manifest.raw):
            store.blobs.put(raw)
        store.images.tag(image.manifest.descriptor, (parse_reference(name),))
    return image


def unpack(root: str, image: Image) -> None:
    """Make empty trees for the layers of an image, as if it had been unpacked."""
    from firkin.containers.keeping.layers import tree_ids

    with Store(root, time.time) as store:
        for id in tree_ids(image):
            with store.stage_tree() as staged:
                staged.seal(id)


def open_box(place: Path, **config: object) -> Engine:
    """Return an engine whose store has an unpacked image `box:1`."""
    root = f"{place}/store"
    unpack(root, keep_box(root, **config))
    (place / "run").mkdir(mode=0o700, exist_ok=True)
    return open_engine(root, runtime=f"{place}/run")


def make(engine: Engine, name: str = "", *, image: str = BOX, **fields: object) -> str:
    """Make a container and return its id; `fields` are those of Config or HostConfig."""
    config = {key: value for key, value in fields.items() if key in Config.__struct_fields__}
    host = {key: value for key, value in fields.items() if key in HostConfig.__struct_fields__}
    assert len(config) + len(host) == len(fields), fields
    request = CreateRequest(Config(image=image, **config), HostConfig(**host), name)  # type: ignore[arg-type]
    return create(engine, request, image_for(engine, image)).id

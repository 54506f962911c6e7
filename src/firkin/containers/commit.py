"""Makes an image of a container: one more layer, and the container's configuration. Does I/O.

The layer is what the container changed, without volumes, binds, and what firkin itself put there. The container's
processes stand still meanwhile. The name comes last. Mirrors: moby daemon.CreateImageFromContainer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from firkin.containers.changes import compare, filler_folders, mount_points
from firkin.containers.documents.lifecycle import answer
from firkin.containers.files.archive_tar import TarPieces
from firkin.containers.files.inside import Inner, Place, inside
from firkin.containers.files.owners import recorded_owners
from firkin.containers.files.places import bare
from firkin.decode import decode_msgpack
from firkin.errors import ContainerError, StoreError
from firkin.layer.change import Change, View
from firkin.layer.scan import OwnerOf, iter_upper_changes
from firkin.layer.view import StackView
from firkin.oci import media
from firkin.oci.config import Healthcheck, History, ImageConfig, RuntimeConfig, encode_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest
from firkin.oci.image import Image, Layer, assemble
from firkin.oci.reference import Reference

if TYPE_CHECKING:
    from firkin.containers.documents.config import Config, HealthConfig
    from firkin.containers.documents.record import Record
    from firkin.containers.home.engine import Engine
    from firkin.store.store import Store


class CommitRequest(msgspec.Struct, frozen=True):
    """What the image is to be called and told of. `pause` freezes the container while its files are read.

    `change` turns the container's configuration into the image's: that of `--change`, and of a request's body.
    """

    name: Reference | None = None
    author: str = ""
    message: str = ""
    pause: bool = True
    change: Callable[[RuntimeConfig], RuntimeConfig] | None = None


def commit(engine: Engine, record: Record, request: CommitRequest) -> Digest:
    """Make the image and return its id.

    Raises ContainerError: `conflict` for a container that is being removed; StoreError; what `change` raises,
    before anything is done.
    """
    state = engine.home.state(record.id)
    if answer("commit", state) != "do":
        raise ContainerError(
            f"You cannot commit container {record.id} which is being removed", kind="conflict", code="removing"
        )
    runtime = runtime_of(record.config)
    if request.change is not None:
        runtime = request.change(runtime)
    with engine.store() as store:
        base = image_of_container(store, record)
        with _paused(engine, record, wanted=request.pause and state.running and not state.paused):
            layer = _write_layer(engine, store, record)
        image = _image(record, request, runtime, base, layer)
        for raw in (image.config.raw, image.manifest.raw):
            store.records.add_blob(store.blobs.put(raw), len(raw))
        names = (request.name,) if request.name is not None else ()
        store.images.tag(image.manifest.descriptor, names, image.config.created)
    reference = "" if request.name is None else request.name.familiar
    told = {"comment": request.message, "imageID": image.config.digest, "imageRef": reference}
    engine.container_event("commit", record, told)
    return image.config.digest


def image_of_container(store: Store, record: Record) -> Image:
    """Return the image that a container was made of, also if it has lost its name. Raises StoreError."""
    from firkin.images.find import read_image
    from firkin.store.references import registered

    for reference in registered(store):
        if reference.name != record.id:
            continue
        for blob in reference.blobs:
            for kind in (media.OCI_MANIFEST, media.DOCKER_MANIFEST):
                try:
                    image = read_image(store, Descriptor(kind, blob, store.blobs.size(blob) or 0))
                except StoreError:
                    continue
                if image.config.digest == record.image:
                    return image
    raise StoreError(f"the image of container {record.id} is not in the store any more", code="image-gone")


def runtime_of(config: Config) -> RuntimeConfig:
    """Return a container's configuration as that of an image."""
    return RuntimeConfig(
        user=config.user,
        exposed_ports=tuple(config.exposed_ports or ()),
        env=config.env or (),
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        volumes=tuple(config.volumes or ()),
        working_dir=config.working_dir,
        labels=tuple((config.labels or {}).items()),
        stop_signal=config.stop_signal,
        healthcheck=None if config.healthcheck is None else _health(config.healthcheck),
        on_build=config.on_build or (),
        shell=config.shell,
    )


def _health(check: HealthConfig) -> Healthcheck:
    return Healthcheck(
        check.test, check.interval, check.timeout, check.start_period, check.start_interval, check.retries
    )


def _image(
    record: Record, request: CommitRequest, runtime: RuntimeConfig, base: Image, layer: Layer | None
) -> Image:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = History(
        created=now,
        created_by=" ".join(record.config.cmd or ()),
        author=request.author,
        comment=request.message,
        empty_layer=layer is None,
    )
    config = encode_config(
        ImageConfig(
            platform=base.config.platform,
            runtime=runtime,
            diff_ids=(*base.config.diff_ids, *(() if layer is None else (layer.diff_id,))),
            history=(*_history(base), line),
            created=now,
            author=request.author,
        )
    )
    family: media.Family = "docker" if base.manifest.media_type == media.DOCKER_MANIFEST else "oci"
    return assemble(config, (*base.layers, *(() if layer is None else (layer,))), family)


def _history(base: Image) -> tuple[History, ...]:
    """Return the base's history, made up where it has none: it must have a line for each layer, or no line at all."""
    return base.config.history or tuple(History(comment="unknown") for _ in base.layers)


# The layer


class _Read(msgspec.Struct, frozen=True):
    entries: int
    size_bytes: int


def _write_layer(engine: Engine, store: Store, record: Record) -> Layer | None:
    """Write the layer's blob; return None if the container changed nothing."""
    from firkin.layer.stream import write_tar

    place = bare(engine, record, "files")
    writer = store.blobs.new()
    try:
        with inside(place, partial(_layer_job, place, record.config.user, recorded_owners(place))) as session:
            written = write_tar(session.read(), writer)
            read = decode_msgpack(session.result(), _Read)
        if not read.entries:
            return None
        writer.commit(written.digest)
    finally:
        writer.abort()
    store.records.add_blob(written.digest, written.size)
    store.records.add_layer_sizes({written.diff_id: read.size_bytes})
    kind = media.layer_media_type("oci", "gzip")
    return Layer(DiffID(written.diff_id), Descriptor(kind, written.digest, written.size))


def _layer_job(place: Place, user: str, owner_of: OwnerOf | None, inner: Inner) -> bytes:
    tar = TarPieces()
    view = StackView(place.trees[::-1])
    upper = f"{place.directory}/upper"
    entries = 0
    hidden = mount_points(place.mounts)
    for change in layer_changes(upper, view, hidden, owners=not place.single_id, owner_of=owner_of):
        inner.send(tar.change(change))
        entries += 1
    inner.write(tar.end())
    return msgspec.msgpack.encode(_Read(entries, tar.size_bytes))


def layer_changes(
    upper: str, view: View, hidden: frozenset[str], *, owners: bool, owner_of: OwnerOf | None = None
) -> Iterator[Change]:
    """Yield what the upper directory of a container adds to the layers of `view`, for a layer of its own.

    Paths in `hidden` are left out unless the layers have them, and so are directories that only lead to such paths.
    """
    found = compare(
        iter_upper_changes(upper, vanishing=True), view, lambda path: os.path.lexists(f"{upper}/{path}"), hidden,
        owners=owners,
    )  # fmt: skip
    skip = frozenset(path for path in hidden if view.lstat(path) is None)
    fillers = frozenset(path for path in filler_folders(hidden) if path not in found and view.lstat(path) is None)
    root, now = view.lstat(""), os.lstat(upper)
    changed = root is None or (root.mode, root.uid, root.gid) != (now.st_mode & 0o7777, now.st_uid, now.st_gid)
    root_too = changed and owners
    for change in iter_upper_changes(upper, skip=skip, include_root=root_too, owner_of=owner_of, vanishing=True):
        if change.path not in fillers:
            yield change


@contextmanager
def _paused(engine: Engine, record: Record, *, wanted: bool) -> Iterator[None]:
    """Let the container stand still; one that has just ended does so anyway."""
    if not wanted:
        yield
        return
    from firkin.containers.pause import pause, unpause

    with suppress(ContainerError):
        pause(engine, record.id)
    try:
        yield
    finally:
        with suppress(ContainerError):
            unpause(engine, record.id)

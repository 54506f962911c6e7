"""From what a request says of mounts to what is mounted where; makes the volumes for it. Does I/O.

Priority at one place: `Binds`, `Mounts` and `Tmpfs` (two of them at one place are an error), then `VolumesFrom`, then
volumes of the image and those without a name. Mirrors: moby daemon.registerMountPoints.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

import msgspec

from firkin.containers.documents.config import BindOptions, HostConfig, Mount, VolumeOptions
from firkin.containers.documents.mount_words import (
    PROPAGATIONS,
    Bind,
    check_mount,
    clean_path,
    parse_bind,
    parse_volumes_from,
)
from firkin.containers.documents.record import MountPoint, Record
from firkin.containers.home.engine import Engine
from firkin.containers.keeping.image import image_for
from firkin.containers.keeping.layers import ensure_layers, tree_ids
from firkin.containers.volumes.make import LOCAL, check_driver
from firkin.containers.volumes.shelf import Volumes
from firkin.errors import ContainerError
from firkin.oci.image import Image


class Asked(NamedTuple):
    """What a request says of mounts, checked: no two of these are at one place."""

    binds: tuple[Bind, ...]
    mounts: tuple[Mount, ...]
    tmpfs: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, host: HostConfig) -> Asked:
        """Read and check it. Raises ContainerError (`invalid`)."""
        check_driver(host.volume_driver)
        asked = cls(
            tuple(map(parse_bind, host.binds or ())),
            tuple(map(check_mount, host.mounts or ())),
            {clean_path(target): tuple(filter(None, text.split(","))) for target, text in (host.tmpfs or {}).items()},
        )
        _check_twice([*(bind.target for bind in asked.binds), *(mount.target for mount in asked.mounts), *asked.tmpfs])
        for mount in asked.mounts:
            _check_source(mount)
        return asked


class Mounting:
    """The mounts of one container that is being made. `points` are by destination.

    `copies` are those whose volume gets what the image has there; `images` those that image mounts show.
    """

    def __init__(self, engine: Engine, record: Record) -> None:
        self._engine = engine
        self._volumes = Volumes(engine)
        self._record = record
        self.points: dict[str, MountPoint] = {}
        self.copies: list[MountPoint] = []
        self.images: list[Image] = []

    @property
    def trees(self) -> tuple[str, ...]:
        """The trees that image mounts need."""
        return tuple(tree for image in self.images for tree in tree_ids(image))

    def plan(self) -> tuple[MountPoint, ...]:
        """Find out all mounts, and make the volumes that are missing. Raises ContainerError."""
        asked = Asked.of(self._record.host_config)
        for text in self._record.host_config.volumes_from or ():
            self._take_from(*parse_volumes_from(text))
        for bind in asked.binds:
            self._add_bind(bind)
        for mount in asked.mounts:
            _ADD[mount.type](self, mount)
        for target, words in asked.tmpfs.items():
            self._put(MountPoint("tmpfs", target, options=words, asked="tmpfs", rw="ro" not in words))
        for target in map(clean_path, self._record.config.volumes or ()):
            if target not in self.points:
                self._add_volume("", MountPoint("volume", target, asked="image"))
        return tuple(sorted(self.points.values(), key=lambda point: (point.destination.count("/"), point.destination)))

    def fill(self, record: Record) -> None:
        """Unpack what image mounts show, and give empty volumes what the image has there. Raises FirkinError."""
        for image in self.images:
            ensure_layers(self._engine, image)
        if self.copies:
            from firkin.containers.volumes.copy_up import copy_up  # it loads what unpacks layers

            copy_up(self._engine, record, self.copies)

    def _put(self, point: MountPoint) -> None:
        self.points[point.destination] = point

    def _take_from(self, text: str, mode: str) -> None:
        try:
            other = self._engine.home.find(text)
        except ContainerError as error:
            raise ContainerError(error.message, kind="invalid", code=error.code) from error
        for point in other.mounts:
            if point.asked == "tmpfs" or point.type == "tmpfs":
                continue
            if point.type == "volume":
                self._volumes.ensure(point.name, user=self._record.id)
            if point.type == "image":
                self.images.append(image_for(self._engine, point.source))
            writable = point.rw and "ro" not in mode.split(",")
            self._put(msgspec.structs.replace(
                point, rw=writable, mode=mode or point.mode, anonymous=False, asked="volumes-from"
            ))  # fmt: skip

    def _add_bind(self, bind: Bind) -> None:
        writable = "ro" not in bind.words
        if bind.is_path:
            propagation = next(iter(bind.words & PROPAGATIONS), "rprivate")
            self._put(MountPoint(
                "bind", bind.target, source=bind.source, mode=bind.mode, rw=writable, propagation=propagation,
                create_source=True, asked="bind",
            ))  # fmt: skip
            return
        mode = bind.mode or ("z" if bind.source else "")
        self._add_volume(
            bind.source, MountPoint("volume", bind.target, mode=mode, rw=writable, asked="bind"),
            copy="nocopy" not in bind.words,
        )  # fmt: skip

    def _mount_bind(self, mount: Mount) -> None:
        options = mount.bind_options or BindOptions()
        self._put(MountPoint(
            "bind", mount.target, source=mount.source, rw=not mount.read_only,
            propagation=options.propagation or "rprivate", recursive=not options.non_recursive,
            readonly_recursive=not options.read_only_non_recursive, create_source=options.create_mountpoint,
            asked="mount",
        ))  # fmt: skip

    def _mount_volume(self, mount: Mount) -> None:
        options = mount.volume_options or VolumeOptions()
        if options.driver_config is not None:
            check_driver(options.driver_config.name)
        point = MountPoint(
            "volume", mount.target, mode="z", rw=not mount.read_only, subpath=options.subpath, asked="mount"
        )
        self._add_volume(
            mount.source, point, copy=not options.no_copy, labels=options.labels,
            driver_options=options.driver_config.options if options.driver_config is not None else None,
        )  # fmt: skip

    def _mount_tmpfs(self, mount: Mount) -> None:
        words: list[str] = []
        options = mount.tmpfs_options
        if options is not None:
            words += [f"size={options.size_bytes}"] if options.size_bytes else []
            words += [f"mode={options.mode:o}"] if options.mode else []
            words += ["=".join(pair) for pair in options.options or ()]
        self._put(MountPoint("tmpfs", mount.target, rw=not mount.read_only, options=tuple(words), asked="mount"))

    def _mount_image(self, mount: Mount) -> None:
        try:
            image = image_for(self._engine, mount.source)
        except ContainerError as error:
            raise ContainerError(error.message, kind="invalid", code=error.code, hints=error.hints) from error
        self.images.append(image)
        subpath = mount.image_options.subpath if mount.image_options is not None else ""
        self._put(MountPoint(
            "image", mount.target, source=mount.source, rw=False, subpath=subpath, trees=tree_ids(image), asked="mount"
        ))  # fmt: skip

    def _add_volume(
        self, name: str, point: MountPoint, *, copy: bool = True, labels: dict[str, str] | None = None,
        driver_options: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        volume, _ = self._volumes.ensure(name, labels, driver_options, user=self._record.id)
        point = msgspec.structs.replace(
            point, name=volume.name, source=self._volumes.data(volume.name), driver=LOCAL, anonymous=not name
        )
        if volume.options and volume.options.get("device"):
            self._put(_elsewhere(point, volume.options))
            return
        self._put(point)
        if copy:
            self.copies.append(point)


def _elsewhere(point: MountPoint, options: Mapping[str, str]) -> MountPoint:
    """Return the mount of a volume whose options name what to mount there. Raises ContainerError (`unsupported`)."""
    words = tuple(filter(None, options.get("o", "").split(",")))
    if "bind" in words or "rbind" in words:
        return msgspec.structs.replace(
            point, source=options["device"], recursive="rbind" in words, rw=point.rw and "ro" not in words,
            propagation=next((word for word in words if word in PROPAGATIONS), "rprivate"),
        )  # fmt: skip
    if options.get("type") == "tmpfs":
        plain = ("exec", "dev", "suid")  # nothing is forbidden that is not asked for
        return msgspec.structs.replace(point, type="tmpfs", source="", options=(*plain, *words))
    raise ContainerError(
        f"error while mounting volume {point.name}: file systems of type `{options.get('type')}` are not mounted here",
        kind="unsupported", code="volume-mount",
        hints=("mount it on this machine, and make a volume that binds the directory: type none, o=bind",),
    )  # fmt: skip


def _check_twice(targets: list[str]) -> None:
    seen: set[str] = set()
    for target in targets:
        if target in seen:
            _refuse(f"Duplicate mount point: {target}")
        seen.add(target)


def _check_source(mount: Mount) -> None:
    made = mount.bind_options is not None and mount.bind_options.create_mountpoint
    if mount.type == "bind" and not made and not os.path.exists(mount.source):
        _refuse(f'invalid mount config for type "bind": bind source path does not exist: {mount.source}')


def _refuse(message: str) -> NoReturn:
    raise ContainerError(message, kind="invalid", code="mount")


_ADD = {
    "bind": Mounting._mount_bind,
    "volume": Mounting._mount_volume,
    "tmpfs": Mounting._mount_tmpfs,
    "image": Mounting._mount_image,
}

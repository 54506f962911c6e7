"""A container as a bundle of the OCI runtime specification: a directory that other runtimes run. Does I/O.

    DIR/config.json     what to run (bundle_spec.py)
    DIR/rootfs          a copy of the image's files: an overlay could not be carried to another place
    DIR/hosts, …        what is mounted on /etc/hosts, /etc/hostname and /etc/resolv.conf

Binds and volumes stay where they are, and the configuration names them. Whoever has subordinate ids gets a root of
these, and the id maps in the configuration.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from firkin.containers.documents.record import MountPoint, Record
from firkin.containers.home.namespaces import within
from firkin.containers.limits.devices import read_devices
from firkin.containers.planning.bundle_spec import ROOTFS, Known, runtime_spec
from firkin.containers.planning.seccomp import container_rules, seccomp_document
from firkin.errors import ContainerError
from firkin.linux.beneath import Beneath
from firkin.oci.users import NoSuchId, find_groups, find_user

if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine

_MOST_OF_PASSWD = 16 << 20
_FILES = ("hosts", "hostname", "resolv.conf")


def write_bundle(engine: Engine, record: Record, directory: str) -> None:
    """Write the bundle of a container that was made; nothing is left of one that fails.

    The directory is made, or must be empty. Raises ContainerError (`conflict` if there is something in it), HostError.
    """
    place = os.path.realpath(directory)
    _make(place)
    try:
        devices = read_devices(record.host_config)
        record = msgspec.structs.replace(record, mounts=_resolved(engine, record.mounts))
        user = _copy_root(engine, record, place)
        maps = engine.backend().enter.maps
        machine = os.uname().machine
        rules = container_rules(record.host_config, machine)
        known = Known(
            user=user,
            devices=_nodes(record),
            rules=devices.rules,
            numbers=devices.numbers,
            maps=maps,
            cgroups=engine.cgroups().version if maps is None else 0,
            seccomp=None if rules is None else seccomp_document(rules, machine),
        )
        for name in _FILES:
            with open(f"{engine.home.directory(record.id)}/{name}", "rb") as source:
                _write(f"{place}/{name}", source.read())
        spec = msgspec.json.format(msgspec.json.encode(runtime_spec(record, known)), indent=2)
        _write(f"{place}/config.json", spec + b"\n")
    except BaseException:
        _clear(engine, place)
        raise


def _make(place: str) -> None:
    try:
        os.makedirs(place, exist_ok=True)
        taken = os.listdir(place)
    except OSError as error:
        raise ContainerError(
            f"cannot make {place}: {(error.strerror or '').lower()}", kind="failed", code="bundle"
        ) from error
    if taken:
        raise ContainerError(f"{place} is not empty", kind="conflict", code="bundle")


def _copy_root(engine: Engine, record: Record, place: str) -> tuple[int, int, tuple[int, ...], str]:
    """Copy the image's files in the namespaces that own them; return who its command is in there."""
    trees = [f"{engine.root}/trees/{tree}/fs" for tree in reversed(record.trees)]
    upper = f"{engine.home.directory(record.id)}/upper"
    root = f"{place}/{ROOTFS}"
    os.mkdir(root, 0o755)

    def work() -> str:
        from firkin.rootfs.flat import FlatTree

        tree = FlatTree(root)
        for lower in (*trees, upper):
            tree.add(lower, apart=False)
        return msgspec.json.encode(_user(record, root)).decode()

    found: Any = msgspec.json.decode(within(engine.backend(), work))
    uid, gid, groups, home = found
    return uid, gid, tuple(groups), home


def _user(record: Record, root: str) -> tuple[int, int, tuple[int, ...], str]:
    """Return uid, gid, further groups and home. Raises ContainerError for a name that the image does not have."""
    texts = []
    with Beneath(root) as files:
        for name in ("etc/passwd", "etc/group"):
            texts.append(b"")
            with suppress(OSError, ValueError):
                texts[-1] = files.read(name, _MOST_OF_PASSWD)
    passwd, group = texts
    try:
        uid, gid, groups, home = find_user(record.config.user, passwd, group)
        more = find_groups(record.host_config.group_add or (), group)
    except NoSuchId as error:
        raise ContainerError(str(error), kind="invalid", code="user") from error
    return uid, gid, tuple(dict.fromkeys((*groups, *more))), home


def _nodes(record: Record) -> tuple[tuple[str, str, int, int], ...]:
    """Return the device nodes that were asked for."""
    found = []
    for device in record.host_config.devices or ():
        try:
            entry = os.stat(device.path_on_host)
        except OSError as error:
            raise ContainerError(
                f'error gathering device information while adding custom device "{device.path_on_host}": '
                f"{(error.strerror or '').lower()}",
                kind="invalid",
                code="device",
            ) from error
        kind = "c" if stat.S_ISCHR(entry.st_mode) else "b" if stat.S_ISBLK(entry.st_mode) else ""
        if not kind:
            raise ContainerError(f"{device.path_on_host} is no device node", kind="unsupported", code="bundle")
        path = device.path_in_container or device.path_on_host
        found.append((path, kind, os.major(entry.st_rdev), os.minor(entry.st_rdev)))
    return tuple(found)


def _resolved(engine: Engine, mounts: tuple[MountPoint, ...]) -> tuple[MountPoint, ...]:
    """Return mounts with the places that they are at now: parts of volumes, and trees of images."""
    found = []
    for point in mounts:
        source = point.source
        if point.type == "bind" and point.create_source and not os.path.lexists(source):
            os.makedirs(source, 0o755, exist_ok=True)
        if point.type != "image" and point.subpath:
            with Beneath(source) as files:
                source = f"{source}/{files.real_path(point.subpath).lstrip(chr(47))}"
        trees = tuple(f"{engine.root}/trees/{tree}/fs" for tree in point.trees)
        found.append(msgspec.structs.replace(point, source=source, trees=trees))
    return tuple(found)


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:
        file.write(data)


def _clear(engine: Engine, place: str) -> None:
    """Remove what was written."""

    def work() -> str:
        from firkin.linux.folders import remove_tree

        remove_tree(f"{place}/{ROOTFS}")
        return ""

    with suppress(ContainerError, OSError):
        within(engine.backend(), work)
    for name in (*_FILES, "config.json"):
        with suppress(OSError):
            os.unlink(f"{place}/{name}")

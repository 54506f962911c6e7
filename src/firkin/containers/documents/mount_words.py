"""Reads what requests say of mounts, without a look at the machine. Pure.

Mirrors: moby volume/mounts (linuxParser), with its words.
"""

from __future__ import annotations

import posixpath
from typing import NamedTuple, NoReturn

from firkin.containers.documents.config import BindOptions, Mount
from firkin.errors import ContainerError

PROPAGATIONS = frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave"))
_GROUPS = (
    frozenset(("rw", "ro")),
    frozenset(("z", "Z")),
    PROPAGATIONS,
    frozenset(("copy", "nocopy")),
    frozenset(("cached", "delegated", "consistent")),
)
_OPTIONS_OF = {"bind": "bind_options", "volume": "volume_options", "tmpfs": "tmpfs_options", "image": "image_options"}
_FIELDS = {
    "bind_options": "BindOptions", "volume_options": "VolumeOptions", "tmpfs_options": "TmpfsOptions",
    "image_options": "ImageOptions",
}  # fmt: skip


class Bind(NamedTuple):
    """One of HostConfig's `Binds`. `source` is an absolute path, or a volume's name, or "" for a volume without one."""

    source: str
    target: str
    mode: str
    words: frozenset[str]

    @property
    def is_path(self) -> bool:
        return self.source.startswith("/")


def parse_bind(text: str) -> Bind:
    """Read `TARGET`, `SOURCE:TARGET` or `SOURCE:TARGET:MODE`; raises ContainerError (`invalid`)."""
    wrong = f"invalid volume specification: '{text}'"
    source, target, mode = _bind_parts(text, wrong)
    words = mode_words(mode)
    if words is None:
        _refuse(f"invalid mode: {mode}")
    target = check_target(target, wrong)
    bind = Bind(posixpath.normpath(source) if source.startswith("/") else source, target, mode, words)
    if (bind.is_path and words & {"copy", "nocopy"}) or (not bind.is_path and words & PROPAGATIONS):
        _refuse(f"{wrong}: invalid mode: {mode}")
    return bind


def _bind_parts(text: str, wrong: str) -> tuple[str, str, str]:
    """Return source ("" for none), target and mode ("" for none)."""
    parts = text.split(":")
    if not all(parts) or len(parts) > 3 or (len(parts) == 2 and mode_words(parts[1]) is not None):
        _refuse(wrong)
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""


def mode_words(mode: str) -> frozenset[str] | None:
    """Return the words of a mode, None if it is invalid: each group counts once."""
    if not mode:
        return frozenset()
    words = mode.split(",")
    known = [word for word in words if any(word in group for group in _GROUPS)]
    if len(known) != len(words) or any(sum(word in group for word in words) > 1 for group in _GROUPS):
        return None
    return frozenset(words)


def parse_volumes_from(text: str) -> tuple[str, str]:
    """Return container and mode ("" for none) of one `VolumesFrom`; raises ContainerError (`invalid`)."""
    container, _, mode = text.partition(":")
    words = mode_words(mode)
    if not container:
        _refuse(f"invalid volumes-from specification: '{text}'")
    if words is None or words & (PROPAGATIONS | {"copy", "nocopy"}):
        _refuse(f"invalid mode: {mode}")
    return container, mode


def check_target(target: str, what: str) -> str:
    """Return a target without superfluous parts; raises ContainerError (`invalid`), `what` begins the message."""
    if not target.startswith("/"):
        _refuse(f"{what}: invalid mount path: '{target}' mount path must be absolute")
    clean = clean_path(target)
    if clean == "/":
        _refuse(f"{what}: invalid specification: destination can't be '/'")
    return clean


def clean_path(path: str) -> str:
    """Return a path in a container without `.`, `..` and double slashes. Mirrors: Go's path.Join("/", path)."""
    return "/" + posixpath.normpath(f"/{path}").lstrip("/")


def check_mount(mount: Mount) -> Mount:
    """Check one of HostConfig's `Mounts`, and return it with its paths cleaned; raises ContainerError (`invalid`)."""
    what = f'invalid mount config for type "{mount.type}"'
    if mount.type not in _OPTIONS_OF:
        _refuse(f"{what}: mount type unknown")
    for field, shown in _FIELDS.items():
        if getattr(mount, field) is not None and field != _OPTIONS_OF[mount.type]:
            _refuse(f"{what}: field {shown} must not be specified")
    if not mount.target:
        _refuse(f"{what}: field Target must not be empty")
    target = check_target(mount.target, what)
    _CHECKS[mount.type](mount, what)
    from msgspec.structs import replace

    return replace(mount, target=target)


def _check_bind(mount: Mount, what: str) -> None:
    if not mount.source:
        _refuse(f"{what}: field Source must not be empty")
    if not mount.source.startswith("/"):
        _refuse(f"{what}: invalid mount path: '{mount.source}' mount path must be absolute")
    if mount.bind_options is not None:
        _check_bind_options(mount, mount.bind_options, what)


def _check_bind_options(mount: Mount, options: BindOptions, what: str) -> None:
    if options.propagation and options.propagation not in PROPAGATIONS:
        _refuse(f"{what}: invalid propagation mode: {options.propagation}")
    if options.read_only_non_recursive and options.read_only_force_recursive:
        _refuse(f"{what}: ReadOnlyNonRecursive and ReadOnlyForceRecursive are mutually exclusive")
    if not mount.read_only and (options.read_only_non_recursive or options.read_only_force_recursive):
        _refuse(f"{what}: options for read-only mounts need ReadOnly")
    if options.read_only_force_recursive and (options.non_recursive or options.propagation not in ("", "rprivate")):
        _refuse(f"{what}: ReadOnlyForceRecursive needs a recursive bind with propagation rprivate")


def _check_volume(mount: Mount, what: str) -> None:
    if not mount.source and mount.read_only:
        _refuse(f"{what}: must not set ReadOnly mode when using anonymous volumes")
    if mount.volume_options is not None:
        _check_subpath(mount.volume_options.subpath, what)
        if mount.volume_options.subpath and not mount.source:
            _refuse(f"{what}: must not set Subpath when using anonymous volumes")


def _check_tmpfs(mount: Mount, what: str) -> None:
    if mount.source:
        _refuse(f"{what}: field Source must not be specified")
    if mount.tmpfs_options is not None and mount.tmpfs_options.size_bytes < 0:
        _refuse(f"{what}: invalid size: {mount.tmpfs_options.size_bytes}")


def _check_image(mount: Mount, what: str) -> None:
    if not mount.source:
        _refuse(f"{what}: field Source must not be empty")
    if mount.image_options is not None:
        _check_subpath(mount.image_options.subpath, what)


def _check_subpath(subpath: str, what: str) -> None:
    if subpath.startswith("/") or ".." in subpath.split("/"):
        _refuse(f"{what}: subpath must be a relative path within the volume")


def _refuse(message: str) -> NoReturn:
    raise ContainerError(message, kind="invalid", code="mount")


_CHECKS = {"bind": _check_bind, "volume": _check_volume, "tmpfs": _check_tmpfs, "image": _check_image}

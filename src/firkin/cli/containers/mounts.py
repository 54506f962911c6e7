"""`--volume`, `--mount`, `--tmpfs` and `--device`. Does I/O. `cli.containers` only.

It looks for devices if there is a `*` in the path of one.

What the values mean together, and whether they can be had, is said where mount points are made (containers).
Mirrors: docker/cli cli/command/container/opts.go, opts/mount.go.
"""

from __future__ import annotations

import glob
import posixpath

import msgspec

from firkin.ambient import absolute
from firkin.cli.containers.values import invalid, size_of, wrong
from firkin.containers.documents.config import (
    BindOptions,
    Device,
    DeviceRequest,
    DriverConfig,
    ImageOptions,
    Mount,
    TmpfsOptions,
    VolumeOptions,
)
from firkin.errors import UsageError
from firkin.text import parse_bool

_PROPAGATIONS = ("", "private", "rprivate", "shared", "rshared", "slave", "rslave")


def volumes(texts: tuple[str, ...], cwd: str) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """Return binds and named volumes, as the engine takes them, and the targets of anonymous volumes."""
    binds: dict[str, None] = {}
    anonymous: dict[str, dict[str, str]] = {}
    for text in texts:
        source, colon, rest = text.partition(":")
        if not colon or not source:
            anonymous[text] = {}
            continue
        binds[f"{posixpath.normpath(absolute(cwd, source))}:{rest}" if _is_relative(source) else text] = None
    return tuple(binds), anonymous


def _is_relative(source: str) -> bool:
    return source in (".", "..") or source.startswith(("./", "../"))


def tmpfs(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the options of each target."""
    return {target: options for target, _, options in (text.partition(":") for text in texts)}


def mount(text: str, cwd: str) -> Mount:
    """Read one `--mount`. Raises UsageError."""
    try:
        return _mount(text, cwd)
    except ValueError as error:
        raise invalid("--mount", text, str(error)) from None


class _Fields:
    """The values of a `--mount` by their canonical keys."""

    def __init__(self, text: str) -> None:
        from firkin.cli.values import csv_fields

        self.values: dict[str, str] = {}
        self.maps: dict[str, dict[str, str]] = {}
        try:
            fields = csv_fields("--mount", text)
        except UsageError as error:
            raise ValueError(error.message) from None
        for field in fields:
            self._take(field)

    def _take(self, field: str) -> None:
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals:
            if key not in _SWITCHES:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        key = _OTHER_KEYS.get(key, key)
        if key in ("volume-label", "volume-opt"):
            name, _, content = value.partition("=")
            self.maps.setdefault(key, {}).update({name: content} if name else {})
        elif key in _KEYS:
            self.values[key] = value
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")

    def text(self, key: str) -> str:
        return self.values.get(key, "")

    def flag(self, key: str) -> bool:
        value = self.values.get(key, "false")
        try:
            return parse_bool(value)
        except ValueError:
            raise ValueError(f"invalid value for {key}: {value}") from None

    def has(self, kind: str) -> bool:
        return any(key.startswith(f"{kind}-") for key in (*self.values, *self.maps))


_SWITCHES = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src")
_OTHER_KEYS = {"source": "src", "target": "dst", "destination": "dst", "ro": "readonly"}
_KEYS = (
    "type", "src", "dst", "readonly", "consistency", "bind-propagation", "bind-nonrecursive", "bind-recursive",
    "bind-create-src", "volume-nocopy", "volume-driver", "volume-subpath", "tmpfs-size", "tmpfs-mode", "image-subpath",
)  # fmt: skip


def _mount(text: str, cwd: str) -> Mount:
    fields = _Fields(text)
    kind = _kind_of(fields)
    source = fields.text("src")
    if kind == "bind" and _is_relative(source):
        source = posixpath.normpath(absolute(cwd, source))
    return Mount(
        kind,
        source,
        fields.text("dst"),
        read_only=fields.flag("readonly"),
        consistency=fields.text("consistency").lower(),
        bind_options=_bind_options(fields) if fields.has("bind") else None,
        volume_options=_volume_options(fields) if fields.has("volume") else None,
        tmpfs_options=_tmpfs_options(fields) if fields.has("tmpfs") else None,
        image_options=ImageOptions(fields.text("image-subpath")) if fields.has("image") else None,
    )


def _kind_of(fields: _Fields) -> str:
    kind = fields.values.get("type", "volume").lower()
    if not kind:
        raise ValueError("type is required")
    if not fields.text("dst"):
        raise ValueError("target is required")
    for options in ("volume", "bind", "tmpfs", "image"):
        if fields.has(options) and kind != options:
            raise ValueError(f"cannot mix '{options}-*' options with mount type '{kind}'")
    return kind


def _bind_options(fields: _Fields) -> BindOptions:
    propagation = fields.text("bind-propagation").lower()
    if propagation not in _PROPAGATIONS:
        raise ValueError(f"invalid propagation mode: {propagation}")
    options = BindOptions(propagation, fields.flag("bind-nonrecursive"), fields.flag("bind-create-src"))
    recursive = fields.text("bind-recursive")
    if recursive in ("", "enabled"):
        return options
    if recursive == "disabled":
        return msgspec.structs.replace(options, non_recursive=True)
    if recursive not in ("writable", "readonly"):
        raise ValueError(
            f'invalid value for bind-recursive: {recursive} (must be "enabled", "disabled", "writable", or "readonly")'
        )
    if not fields.flag("readonly"):
        raise ValueError(f"option 'bind-recursive={recursive}' requires 'readonly' to be specified in conjunction")
    if recursive == "writable":
        return msgspec.structs.replace(options, read_only_non_recursive=True)
    if propagation != "rprivate":
        raise ValueError(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
        )
    return msgspec.structs.replace(options, read_only_force_recursive=True)


def _volume_options(fields: _Fields) -> VolumeOptions:
    driver, options = fields.text("volume-driver"), fields.maps.get("volume-opt")
    return VolumeOptions(
        fields.flag("volume-nocopy"),
        fields.maps.get("volume-label"),
        DriverConfig(driver, options) if driver or options else None,
        fields.text("volume-subpath"),
    )


def _tmpfs_options(fields: _Fields) -> TmpfsOptions:
    mode, size = fields.text("tmpfs-mode"), fields.text("tmpfs-size")
    if mode and (len(mode) > 11 or not set(mode) <= set("01234567") or int(mode, 8) >= 1 << 32):
        raise ValueError(f"invalid value for tmpfs-mode: {mode}")
    try:
        size_bytes = size_of("--mount", size) if size else 0
    except UsageError:
        raise ValueError(f"invalid value for tmpfs-size: {size}") from None
    return TmpfsOptions(size_bytes, int(mode, 8) if mode else 0)


def devices(texts: tuple[str, ...]) -> tuple[tuple[Device, ...], tuple[DeviceRequest, ...]]:
    """Return the devices of `/dev/x[:/dev/y][:rwm]`, and what is asked of a driver (`vendor/class=name`).

    Raises UsageError.
    """
    here: list[Device] = []
    asked: list[str] = []
    for text in texts:
        if "=" in text and not text.startswith("/"):
            asked.append(text)
        else:
            here += _devices(text)
    return tuple(here), (DeviceRequest("cdi", device_ids=tuple(asked)),) if asked else ()


def _device_words(text: str) -> tuple[str, str, str]:
    """Return path, target ("" for the same) and permissions."""
    path, *others = text.split(":")
    if not path or len(others) > 2:
        raise wrong(f"bad format for path: {text}")
    if len(others) == 2:
        if not _is_mode(others[1]):
            raise wrong(f"bad mode specified: {others[1]}")
        return path, others[0], others[1]
    if not others:
        return path, "", "rwm"
    return (path, "", others[0]) if _is_mode(others[0]) else (path, others[0], "rwm")


def _devices(text: str) -> list[Device]:
    path, target, permissions = _device_words(text)
    if not (target or path).startswith("/"):
        raise wrong(f"{target or path} is not an absolute path")
    if not path.endswith("*"):
        path = path if target else posixpath.normpath(path)
        return [Device(path, posixpath.normpath(target) if target else path, permissions)]
    if target:
        raise wrong(f"device with * suffix can't have dst: {text}")
    return [Device(found, found, permissions) for found in sorted(glob.glob(path))]


def _is_mode(text: str) -> bool:
    return text != "" and set(text) <= set("rwm") and len(set(text)) == len(text)

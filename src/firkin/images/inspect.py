"""An image of the store as the document that `docker image inspect` prints. Does I/O.

Mirrors: moby api/types/image InspectResponse, as Engine 28 fills it in (API 1.48): empty fields of `Config` are there,
as null or "". `Descriptor` and `Manifests` are those of the containerd image store: they tell apart the digest of an
index, to which a name points, and that of the manifest of each platform.
"""

from __future__ import annotations

from typing import Any

import msgspec

from firkin.images.find import Found
from firkin.images.names import familiar
from firkin.images.sizes import image_size
from firkin.oci.codec import readable
from firkin.oci.config import RuntimeConfig
from firkin.oci.descriptor import Descriptor
from firkin.oci.image import Image
from firkin.oci.manifest import descriptor_json, platform_json
from firkin.store.facts import ATTESTATION, is_image
from firkin.store.store import Store

_FOR = "vnd.docker.reference.digest"
_NEVER = "0001-01-01T00:00:00Z"
_FLAGS = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce")


def inspect_image(store: Store, found: Found) -> dict[str, Any]:
    """Return the document, its names in docker's order. Sizes are those of unpacked layers. Raises StoreError."""
    image = found.image
    config, raw = image.config, _fields(msgspec.json.decode(readable(image.config.raw)))
    size = image_size(store, image)
    history = config.history
    return _without_empty({
        "Id": found.id,
        "RepoTags": sorted(map(familiar, found.names)),
        "RepoDigests": sorted(map(familiar, found.digests)),
        "Parent": "",
        "Comment": _text(raw, "comment") or (history[-1].comment if history else ""),
        "Created": config.created,
        "DockerVersion": _text(raw, "docker_version"),
        "Author": config.author,
        "Config": _config(config.runtime, _fields(raw.get("config"))),
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "OsVersion": config.platform.os_version,
        "Size": size,
        "GraphDriver": {"Data": None, "Name": "firkin"},
        "RootFS": _without_empty({"Type": "layers", "Layers": list(config.diff_ids)}),
        "Metadata": {"LastTagTime": _NEVER},
        "Descriptor": _described(found.root),
        "Manifests": _manifests(store, found),
    })


def _config(runtime: RuntimeConfig, raw: dict[str, Any]) -> dict[str, Any]:
    """Return the `Config` object; `raw` is that of the configuration, with what firkin has no use for."""

    def listed(name: str, values: tuple[str, ...] | None) -> list[str] | None:
        return list(values or ()) or (raw[name] if raw.get(name) == [] else None)

    def mapped(name: str, values: dict[str, Any]) -> dict[str, Any] | None:
        return values or (raw[name] if raw.get(name) == {} else None)

    flags = {name: raw.get(name) is True for name in _FLAGS}
    return _without_empty({
        "Hostname": _text(raw, "Hostname"),
        "Domainname": _text(raw, "Domainname"),
        "User": runtime.user,
        **{name: flags[name] for name in _FLAGS[:3]},
        "ExposedPorts": {port: {} for port in sorted(runtime.exposed_ports)},
        **{name: flags[name] for name in _FLAGS[3:]},
        "Env": listed("Env", runtime.env),
        "Cmd": listed("Cmd", runtime.cmd),
        "Healthcheck": msgspec.json.decode(msgspec.json.encode(runtime.healthcheck)),
        "ArgsEscaped": runtime.args_escaped,
        "Image": _text(raw, "Image"),
        "Volumes": mapped("Volumes", {path: {} for path in sorted(runtime.volumes)}),
        "WorkingDir": runtime.working_dir,
        "Entrypoint": listed("Entrypoint", runtime.entrypoint),
        "OnBuild": listed("OnBuild", runtime.on_build),
        "Labels": mapped("Labels", dict(sorted(runtime.labels))),
        "StopSignal": runtime.stop_signal,
        "Shell": list(runtime.shell or ()),
    })


_LEFT_OUT = frozenset(
    ("Created", "Variant", "OsVersion", "Layers", "ExposedPorts", "Healthcheck", "ArgsEscaped", "StopSignal", "Shell")
)
"""Fields that Engine 28 leaves out when they are empty."""


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value or name not in _LEFT_OUT}


def _manifests(store: Store, found: Found) -> list[dict[str, Any]]:
    """Return a summary of each entry of the index, or of the one manifest. Mirrors: image.ManifestSummary."""
    if found.index is None:
        return [_summary(store, found.root, found.image)]
    here = {image.manifest.digest: image for image in found.images}
    return [_summary(store, child, here.get(child.digest)) for child in found.index.manifests]


def _summary(store: Store, child: Descriptor, image: Image | None) -> dict[str, Any]:
    subject = dict(child.annotations).get(_FOR, "")
    kind = "attestation" if ATTESTATION in dict(child.annotations) else "image" if is_image(child) else "unknown"
    content = child.size if image is None else image.size_bytes
    summary = {
        "ID": child.digest,
        "Descriptor": _described(child),
        "Available": image is not None or (kind != "image" and store.blobs.size(child.digest) is not None),
        "Size": {"Content": content, "Total": content},
        "Kind": kind,
    }
    if kind == "image":
        platform = child.platform or (image.config.platform if image is not None else None)
        unpacked = image_size(store, image) if image is not None else 0
        summary["Size"] = {"Content": content, "Total": content + unpacked}
        summary["ImageData"] = {
            "Platform": platform_json(platform) if platform is not None else {},
            "Containers": [],
            "Size": {"Unpacked": unpacked},
        }
    elif kind == "attestation":
        summary["AttestationData"] = {"For": subject}
    return summary


def _described(descriptor: Descriptor) -> dict[str, Any]:
    """Return a descriptor as JSON has it."""
    return dict(descriptor_json(descriptor))


def _fields(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""

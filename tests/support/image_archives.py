"""Image archives as other tools write them, made member by member."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

from firkin.oci.digest import digest_of


def layer_tar(**files: bytes) -> bytes:
    """Return the tar of a layer with these files."""
    return tar_of(files)


def tar_of(
    files: dict[str, bytes] | list[tuple[str, bytes]],
    links: dict[str, str] | None = None,
    hard: dict[str, str] | None = None,
) -> bytes:
    """Return a tar with files, then symbolic links, then hard links, under exactly these names."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for kind, table in ((tarfile.SYMTYPE, links), (tarfile.LNKTYPE, hard)):
            for name, target in (table or {}).items():
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, target
                archive.addfile(member)
    return stream.getvalue()


def config_of(*diff_ids: str, **fields: Any) -> bytes:
    """Return a configuration with these diff ids."""
    document = {
        "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z", "config": {},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}, **fields,
    }  # fmt: skip
    return json.dumps(document).encode()


def entry(config: str, layers: list[str], *names: str) -> dict[str, Any]:
    """Return an image of manifest.json."""
    return {"Config": config, "RepoTags": list(names) or None, "Layers": layers}


def docker_files(*layers: bytes, names: tuple[str, ...] = ("app:1",), tars: tuple[bytes, ...] = ()) -> dict[str, bytes]:
    """Return the files of an archive as skopeo writes it; `tars` are the layers before they were compressed."""
    config = config_of(*(digest_of(data) for data in tars or layers))
    listed = [f"layer{number}.tar" for number in range(len(layers))]
    return {
        **dict(zip(listed, layers, strict=True)),
        f"{digest_of(config)[7:]}.json": config,
        "manifest.json": json.dumps([entry(f"{digest_of(config)[7:]}.json", listed, *names)]).encode(),
    }


def layout_files(manifests: list[dict[str, Any]], *blobs: bytes) -> dict[str, bytes]:
    """Return the files of an OCI layout."""
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": manifests}).encode(),
        **{f"blobs/sha256/{digest_of(data)[7:]}": data for data in blobs},
    }


def described(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """Return a descriptor as JSON."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def oci_image(*layers: bytes, **config: Any) -> tuple[bytes, bytes]:
    """Return configuration and manifest of an OCI image with uncompressed layers."""
    configuration = config_of(*map(digest_of, layers), **config)
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
        "config": described(configuration, f"{kind}.config.v1+json"),
        "layers": [described(data, f"{kind}.layer.v1.tar") for data in layers],
    }  # fmt: skip
    return configuration, json.dumps(manifest).encode()

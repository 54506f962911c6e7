"""Write OCI image layouts from tars without firkin's code, so that its tests use independent images."""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isal import igzip_threaded

CREATED = "2023-11-14T22:13:20Z"
EPOCH = 1700000000
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class LayerBlob:
    """One compressed layer: its descriptor, its diff_id, and the file that holds it."""

    descriptor: dict[str, Any]
    diff_id: str
    path: Path


class _Tee:
    """A file object that hashes and counts the bytes written through it."""

    def __init__(self, target: Any) -> None:
        self.target = target
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        self.target.write(data)
        return len(data)

    def flush(self) -> None:
        self.target.flush()


def compress_layer(tar: Path, blobs: Path) -> LayerBlob:
    """Compress a tar into the blob directory; the same tar always gives the same bytes."""
    blobs.mkdir(parents=True, exist_ok=True)
    temporary = blobs / f".tmp-{os.getpid()}"
    plain = hashlib.sha256()
    with open(tar, "rb") as source, open(temporary, "wb") as raw:
        out = _Tee(raw)
        with igzip_threaded.open(out, "wb", compresslevel=1, threads=1) as zipped:  # type: ignore[arg-type]
            while block := source.read(1 << 20):
                plain.update(block)
                zipped.write(block)
    digest = out.digest.hexdigest()
    os.replace(temporary, blobs / digest)
    descriptor = {"mediaType": LAYER_GZIP, "digest": f"sha256:{digest}", "size": out.size}
    return LayerBlob(descriptor, f"sha256:{plain.hexdigest()}", blobs / digest)


def subtract_tar(full: Path, base: Path, out: Path) -> None:
    """Write a tar of what `full` adds to or changes in `base`, with whiteouts for what it lacks, sorted by name."""
    seen = {}
    with tarfile.open(base) as tar:
        for member in tar:
            seen[_name(member)] = _facts(tar, member)
    changed: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(full) as tar, tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as target:
        names = set()
        for member in tar:
            name = _name(member)
            names.add(name)
            if name != "." and seen.get(name) != _facts(tar, member):
                member.name = name
                if member.islnk():
                    member.linkname = os.path.normpath(member.linkname)
                changed[name] = member
        gone = set(seen) - names
        for name in sorted(gone):
            if os.path.dirname(name) in gone:
                continue
            target.addfile(tarfile.TarInfo(os.path.join(os.path.dirname(name), ".wh." + os.path.basename(name))))
        # A hard link must follow its target in any case.
        for name in sorted(changed, key=lambda n: (changed[n].islnk(), n)):
            member = changed[name]
            if member.islnk() and member.linkname not in changed:
                content = tar.extractfile(member)
                member.type = tarfile.REGTYPE
            else:
                content = tar.extractfile(member) if member.isreg() else None
            target.addfile(member, content)


def _name(member: tarfile.TarInfo) -> str:
    return os.path.normpath(member.name)


def _facts(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[Any, ...]:
    content = b""
    if member.isreg():
        handle = tar.extractfile(member)
        assert handle is not None
        content = hashlib.sha256(handle.read()).digest()
    # The time of a directory changes with its entries, so it is ignored.
    mtime = 0 if member.isdir() else member.mtime
    return (
        member.type,
        member.mode,
        member.uid,
        member.gid,
        member.linkname,
        mtime,
        content,
        tuple(sorted((k, v) for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr."))),
    )


def write_layout(
    place: Path, layers: Iterable[LayerBlob], config: Mapping[str, Any], tags: Iterable[str], architecture: str = "amd64"
) -> str:
    """Write one image as an OCI layout and return the digest of its manifest; layer blobs are hard-linked."""
    layers = tuple(layers)
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(media_type: str, value: Any) -> dict[str, Any]:
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    for layer in layers:
        link_or_copy(layer.path, blobs / layer.path.name)
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": CREATED, "created_by": "debian packages"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put(CONFIG, document),
        "layers": [layer.descriptor for layer in layers],
    }
    descriptor = put(MANIFEST, manifest)
    entries = [{**descriptor, "annotations": {REF_NAME: tag}} for tag in tags]
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (place / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    return str(descriptor["digest"])


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a second name of `source`, or a copy where the file system cannot."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        temporary = target.with_name(f".copy-{os.getpid()}-{target.name}")
        temporary.write_bytes(source.read_bytes())
        os.replace(temporary, target)


def read_manifest(layout: Path) -> tuple[dict[str, Any], bytes]:
    """Return the descriptor of a layout's first image and the bytes of its manifest."""
    descriptor = json.loads((layout / "index.json").read_text())["manifests"][0]
    return descriptor, read_blob(layout, descriptor["digest"])


def read_blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()

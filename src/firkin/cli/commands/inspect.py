"""`firkin inspect`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.store import find_image, open_store
from firkin.errors import UsageError
from firkin.images.find import Found
from firkin.oci.codec import readable

USAGE = "[OPTIONS] IMAGE..."
ABOUT = (
    "Show what images of the store consist of, as JSON. IMAGE is a name, a digest, or the beginning of one. "
    "`size_bytes` is what a registry holds: layers count as they are compressed."
)
OPTIONS = (
    Option(("--raw",), "raw", "choice", "print the exact bytes of the manifest (or index) or of the configuration",
           "manifest|config", (), ("manifest", "config")),
    Option(("--format", "-f"), "", "refused", "what is printed is JSON: hand it to `jq`, e.g. `jq '.[0].digest'`"),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Print a JSON array, or raw bytes. Raises UsageError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin inspect` needs an image")
    store, _ = open_store(invocation)
    with store:
        found = [find_image(store, text) for text in arguments.operands]
        if arguments.given("raw"):
            what = arguments.text("raw")
            for item in found:
                raw = store.blobs.read(item.root.digest) if what == "manifest" else item.images[0].config.raw
                _write(raw)
            return 0
    write_out(msgspec.json.format(msgspec.json.encode([_document(item) for item in found]), indent=2).decode() + "\n")
    return 0


def _document(found: Found) -> dict[str, object]:
    return {
        "digest": found.root.digest,
        "media_type": found.root.media_type,
        "names": found.names,
        "created": found.created,
        "size_bytes": found.size_bytes,
        "images": [
            {
                "digest": image.manifest.digest,
                "config_digest": image.config.digest,
                "platform": str(image.config.platform),
                "layers": [
                    {
                        "diff_id": layer.diff_id,
                        "digest": layer.descriptor.digest,
                        "size_bytes": layer.descriptor.size,
                        "media_type": layer.descriptor.media_type,
                    }
                    for layer in image.layers
                ],
                "annotations": dict(image.manifest.annotations),
                "config": msgspec.Raw(readable(image.config.raw)),
            }
            for image in found.images
        ],
    }


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]

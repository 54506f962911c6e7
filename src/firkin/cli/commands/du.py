"""`firkin du`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import time

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.store import run_in_namespaces
from firkin.render.text import human_size, table
from firkin.store.gc import prune
from firkin.store.pruned import Pruned
from firkin.store.store import Store
from firkin.store.usage import Use, measured_use

USAGE = "[OPTIONS]"
ABOUT = (
    "Show what the store takes on disk, and how much of it `firkin prune` would free now. Layers are those of base "
    "images and of steps, unpacked; blobs are compressed layers, configurations and manifests."
)
OPTIONS = (
    Option(("--json",), "json", "flag", "print JSON", takes_value=False),
    Option(("--verbose", "-v"), "", "ignored", "`firkin prune --dry-run --verbose` names all", takes_value=False),
    Option(("--filter",), "", "refused", "`--json` is easy to filter"),
    Option(("--format",), "", "refused", "`--json` prints JSON"),
    *COMMON,
)
_KINDS = {"layer": "layers", "blob": "blobs", "mount": "cache mounts", "download": "downloads", "file": "indexes"}


def run(invocation: Invocation) -> int:
    """Measure in the namespaces of a build."""
    arguments, ambient = invocation
    settings = settings_of(arguments, ambient)

    def child() -> int:
        with Store(settings.root, time.time) as store:
            uses = measured_use(store)
            pruned = prune(store, now=ambient.now_s, recent=True, dry=True)
        if arguments.flag("json"):
            write_out(msgspec.json.encode(_document(settings.root, uses, pruned)).decode() + "\n")
        else:
            write_out(_text(uses, pruned))
        return 0

    return run_in_namespaces(settings.root, child)


def _freed(pruned: Pruned, kind: str) -> int:
    return sum(item.size_bytes for item in pruned.freed if item.kind == kind)


def _text(uses: tuple[Use, ...], pruned: Pruned) -> str:
    rows = [
        (_KINDS[use.kind], str(use.count), human_size(use.size_bytes), human_size(_freed(pruned, use.kind)))
        for use in uses
    ]
    total = sum(use.size_bytes for use in uses)
    rows.append(("all", "", human_size(total), human_size(pruned.size_bytes)))
    return table(("KIND", "COUNT", "SIZE", "RECLAIMABLE"), rows)


def _document(root: str, uses: tuple[Use, ...], pruned: Pruned) -> dict[str, object]:
    return {
        "root": root,
        "size_bytes": sum(use.size_bytes for use in uses),
        "reclaimable_bytes": pruned.size_bytes,
        "kinds": {
            use.kind: {"count": use.count, "size_bytes": use.size_bytes, "reclaimable_bytes": _freed(pruned, use.kind)}
            for use in uses
        },
    }

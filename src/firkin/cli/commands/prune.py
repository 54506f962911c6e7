"""`firkin prune`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
import time

from firkin.builder.history.shelf import Shelf
from firkin.cli import values
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.store import run_in_namespaces, say
from firkin.errors import UsageError
from firkin.render.text import counted, human_size
from firkin.store.gc import prune
from firkin.store.layout import give_up_reserve, is_full
from firkin.store.pruned import RECENT, Pruned
from firkin.store.store import Store

USAGE = "[OPTIONS]"
ABOUT = (
    "Remove from the store what no named image needs: layers of earlier builds, cache mounts, images without a name. "
    "Builds that run meanwhile are not disturbed."
)
OPTIONS = (
    Option(("--older-than",), "older_than", "text", "only what was not used for this long, e.g. `24h`, `7d`", "TIME"),
    Option(("--keep-storage", "--max-used-space"), "keep", "text", "keep up to SIZE, the newest (0: nothing)", "SIZE"),
    Option(("--keep-unnamed",), "keep_unnamed", "flag", "keep images that have no name", takes_value=False),
    Option(("--dry-run",), "dry_run", "flag", "only show what would be removed", takes_value=False),
    Option(("--verbose",), "verbose", "flag", "list every item", takes_value=False),
    Option(("--force", "-f"), "", "ignored", "firkin asks no questions", takes_value=False),
    Option(("--all", "-a"), "", "ignored", "all that is not in use goes anyway", takes_value=False),
    Option(("--filter",), "", "refused", "for `until=24h` write `--older-than 24h`"),
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Prune in the namespaces of a build: layers may belong to subordinate ids. Raises UsageError."""
    arguments, ambient = invocation
    settings = settings_of(arguments, ambient)
    older_than_s = values.duration_s("--older-than", arguments.text("older_than", "0s"))
    if arguments.text("older_than") and not older_than_s:
        raise UsageError(
            "option `--older-than`: 0 has no meaning",
            hints=("leave it out: then everything goes that nothing needs",),
        )
    keep_bytes = values.size_bytes("--keep-storage", arguments.text("keep", "0"))
    dry = arguments.flag("dry_run")

    def child() -> int:
        with Store(settings.root, time.time) as store:
            pruned = prune(
                store,
                now=ambient.now_s,
                older_than_s=older_than_s,
                keep_bytes=keep_bytes,
                unnamed_images=not arguments.flag("keep_unnamed"),
                recent=True,
                dry=dry,
            )
            if not dry:
                store.layout.set_aside()
                Shelf(settings.root).tidy(settings.history, ambient.now_s)
        lately = arguments.text("older_than") if older_than_s else ""
        write_out(_text(pruned, dry=dry, verbose=arguments.flag("verbose")))
        if pruned.spared:
            say(_spared(pruned, lately))
        return 0

    if not dry and os.path.isdir(settings.root) and is_full(settings.root):
        give_up_reserve(settings.root)
    return run_in_namespaces(settings.root, child)


def _text(pruned: Pruned, *, dry: bool, verbose: bool) -> str:
    lines = []
    if verbose:
        lines += [f"{item.kind} {item.name} {human_size(item.size_bytes)}" for item in pruned.freed]
    kinds: dict[str, int] = {}
    for item in pruned.freed:
        kind = "cache mount" if item.kind == "mount" else item.kind
        kinds[kind] = kinds.get(kind, 0) + 1
    what = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in kinds.items()) or "nothing"
    lines.append(f"{'would remove' if dry else 'removed'} {what}, {human_size(pruned.size_bytes)}")
    return "\n".join(lines) + "\n"


def _spared(pruned: Pruned, lately: str) -> str:
    """Return what was kept and why, a line for each reason."""
    lines = []
    for spared in pruned.spared:
        kind = "cache mount" if spared.kind == "mount" else spared.kind
        size = f", {human_size(spared.size_bytes)}" if spared.size_bytes else ""
        why = f"of use in the last {lately}, or to a build that runs" if spared.why == RECENT and lately else spared.why
        lines.append(f"spared {counted(spared.count, kind, kind + 's')}{size}: {why}")
    return "\n".join(lines)

"""`firkin cache`: lists and prunes layer caches in registries and directories. Does I/O. Only `cli.run` imports it."""

from __future__ import annotations

import os

from firkin.ambient import Ambient, absolute
from firkin.builder.cache import WritableCache
from firkin.builder.cache.directory import DirectoryCache
from firkin.builder.cache.entry import MOUNT_PREFIX
from firkin.builder.cache.prune import Row, Rules, choose, layer_bytes, layers_of, list_rows
from firkin.builder.cache.repository import RepositoryCache
from firkin.cli import values
from firkin.cli.arguments import Arguments
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.store import open_client, say, with_interrupts
from firkin.errors import UsageError
from firkin.images.names import read_reference
from firkin.linux.machine import this_platform
from firkin.registry.client import RegistryClient
from firkin.render.text import counted, human_size
from firkin.tasks.cancel import Cancel

FINE_EXIT_CODES = True
USAGE = "ls|prune [OPTIONS] REPOSITORY[:PREFIX]|DIRECTORY"
ABOUT = (
    "List the entries of a layer cache, newest first, or remove some of them. The cache is a repository (with the tag "
    "of `--cache-to type=registry,ref=` as a prefix), or a directory (`./cache`, `/var/cache/layers`)."
)
OPTIONS = (
    Option(("--older-than",), "older_than", "text", "prune: entries that were saved longer ago", "DURATION"),
    Option(("--keep-storage",), "keep", "text", "prune: the oldest entries, until the layers of the others fit in SIZE",
           "SIZE"),
    Option(("--unused-by",), "unused_by", "many", "prune: entries whose layer is in none of these images", "IMAGE"),
    Option(("--dry-run",), "dry_run", "flag", "prune: only show what would be removed", takes_value=False),
    Option(("--quiet", "-q"), "quiet", "flag", "ls: print names only", takes_value=False),
    *REGISTRY,
    *COMMON,
)  # fmt: skip

def run(invocation: Invocation) -> int:
    """List or prune."""
    arguments, ambient = invocation
    _check(arguments)
    action, where = arguments.operands
    settings = settings_of(arguments, ambient)

    def work(cancel: Cancel) -> int:
        with open_client(settings, cancel) as client:
            place = _place(where, ambient, client)
            rows = list_rows(place, settings.registry.parallel)
            if action == "ls":
                write_out(_listing(rows, ambient.now_s, names_only=arguments.flag("quiet")))
            else:
                _prune(arguments, client, place, rows, ambient.now_s)
        return 0

    return with_interrupts(work)


def _check(arguments: Arguments) -> None:
    if len(arguments.operands) != 2 or arguments.operands[0] not in ("ls", "prune"):
        raise UsageError(f"`firkin cache` is used so: `firkin cache {USAGE}`")
    rules = any(map(arguments.given, ("older_than", "keep", "unused_by")))
    if arguments.operands[0] == "ls":
        if rules or arguments.flag("dry_run"):
            raise UsageError("`firkin cache ls` lists everything; rules and `--dry-run` are for `firkin cache prune`")
    elif arguments.flag("quiet"):
        raise UsageError("`--quiet` is for `firkin cache ls`")
    elif not rules:
        raise UsageError(
            "`firkin cache prune` needs to know what may go",
            hints=("`--older-than 168h`, `--keep-storage 10g` or `--unused-by IMAGE`",),
        )


def _prune(
    arguments: Arguments, client: RegistryClient, place: WritableCache, rows: tuple[Row, ...], now_s: float
) -> None:
    images = map(read_reference, arguments.many("unused_by"))
    rules = Rules(
        values.duration_s("--older-than", arguments.text("older_than", "0s")),
        values.size_bytes("--keep-storage", arguments.text("keep", "0")),
        layers_of(client, images) if arguments.given("unused_by") else None,
    )
    gone = choose(rows, rules, now_s)
    if not arguments.flag("dry_run"):
        place.remove(tuple(row.name for row in gone))
    verb = "would remove" if arguments.flag("dry_run") else "removed"
    freed = human_size(layer_bytes(gone))
    say(f"{verb} {len(gone)} of {counted(len(rows), 'entry', 'entries')}, with layers of {freed}")


def _place(where: str, ambient: Ambient, client: RegistryClient) -> WritableCache:
    platform = this_platform()
    path = absolute(ambient.cwd, where.removeprefix("oci:"))
    if where.startswith(("/", "./", "../", "oci:")) or os.path.isdir(path):
        if not os.path.exists(f"{path}/index.json"):
            raise UsageError(f"there is no cache in {path}", hints=("a cache has an `index.json`",))
        return DirectoryCache(os.path.normpath(path), platform)
    return RepositoryCache(where, lambda: client, platform)


def _listing(rows: tuple[Row, ...], now_s: float, *, names_only: bool) -> str:
    if names_only:
        return "".join(f"{row.name}\n" for row in rows)
    lines = [("ENTRY", "SAVED", "SIZE", "STEP")]
    for row in rows:
        shown = row.name[: len(MOUNT_PREFIX) + 12 if row.name.startswith(MOUNT_PREFIX) else 12]
        if row.entry is None:
            lines.append((shown, "-", "-", "(no entry of firkin)"))
            continue
        what = f"cache mount {row.entry.title}" if row.name.startswith(MOUNT_PREFIX) else row.entry.title
        lines.append((shown, _age(now_s - row.saved), human_size(row.size), what))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    first, second, third = widths
    text = "".join(
        f"{entry:<{first}}  {saved:>{second}}  {size:>{third}}  {what}\n" for entry, saved, size, what in lines
    )
    return f"{text}{counted(len(rows), 'entry', 'entries')}, {human_size(layer_bytes(rows))}\n"


def _age(seconds: float) -> str:
    for name, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{name}"
    return f"{max(0.0, seconds):.0f}s"

"""`firkin cache`: layer caches in registries and directories, listed and pruned. I; only `cli.run` may import it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from firkin.ambient import Ambient, absolute
from firkin.builder.cache import Place
from firkin.builder.cache.directory import DirectoryCache
from firkin.builder.cache.entry import MOUNT_PREFIX, CacheEntry
from firkin.builder.cache.repository import RepositoryCache
from firkin.cli import values
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.store import open_client, say, with_interrupts
from firkin.errors import Cancelled, UsageError
from firkin.images.names import read_reference
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index
from firkin.oci.platform import host_platform
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.render.text import counted, human_size
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools

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

T = TypeVar("T")


class Row(NamedTuple):
    """One entry and its name; `entry` is None for one that firkin would refuse."""

    name: str
    entry: CacheEntry | None

    @property
    def saved(self) -> float:
        return self.entry.saved if self.entry is not None else 0.0

    @property
    def digest(self) -> str:
        return self.entry.blob.descriptor.digest if self.entry is not None else ""

    @property
    def size(self) -> int:
        return self.entry.blob.descriptor.size if self.entry is not None else 0


class Rules(NamedTuple):
    """Which entries go."""

    older_than_s: float
    keep_bytes: int
    used: frozenset[Digest] | None


def run(invocation: Invocation) -> int:
    """List or prune."""
    arguments, ambient = invocation
    if len(arguments.operands) != 2 or arguments.operands[0] not in ("ls", "prune"):
        raise UsageError(f"`firkin cache` is used so: `firkin cache {USAGE}`")
    action, where = arguments.operands
    settings = settings_of(arguments, ambient)
    given = [name for name in ("older_than", "keep", "unused_by") if arguments.given(name)]
    if action == "ls" and (given or arguments.flag("dry_run")):
        raise UsageError("`firkin cache ls` lists everything; rules and `--dry-run` are for `firkin cache prune`")
    if action == "prune" and arguments.flag("quiet"):
        raise UsageError("`--quiet` is for `firkin cache ls`")
    if action == "prune" and not given:
        raise UsageError(
            "`firkin cache prune` needs to know what may go",
            hints=("`--older-than 168h`, `--keep-storage 10g` or `--unused-by IMAGE`",),
        )

    def work(cancel: Cancel) -> int:
        with open_client(settings, cancel) as client:
            place = _place(where, ambient, client)
            rows = _rows(place, settings.registry.parallel)
            if action == "ls":
                write_out(_listing(rows, ambient.now_s, names_only=arguments.flag("quiet")))
                return 0
            rules = Rules(
                values.duration_s("--older-than", arguments.text("older_than", "0s")),
                values.size_bytes("--keep-storage", arguments.text("keep", "0")),
                _layers_of(client, arguments.many("unused_by")) if arguments.given("unused_by") else None,
            )
            gone = choose(rows, rules, ambient.now_s)
            if not arguments.flag("dry_run"):
                place.remove(tuple(row.name for row in gone))
            left = {row.digest for row in rows} - {row.digest for row in gone}
            freed = sum({row.digest: row.size for row in gone if row.digest not in left}.values())
            verb = "would remove" if arguments.flag("dry_run") else "removed"
            say(f"{verb} {len(gone)} of {counted(len(rows), 'entry', 'entries')}, with layers of {human_size(freed)}")
        return 0

    return with_interrupts(work)


def choose(rows: tuple[Row, ...], rules: Rules, now_s: float) -> list[Row]:
    """Return the entries that go: a row of the listing goes when any of the rules says so."""
    gone: list[Row] = []
    kept: list[Row] = []
    for row in rows:
        old = bool(rules.older_than_s) and row.saved + rules.older_than_s < now_s
        unused = rules.used is not None and row.digest not in rules.used
        (gone if row.entry is None or old or unused else kept).append(row)
    if rules.keep_bytes:
        left = 0
        seen: set[str] = set()
        for row in kept:  # newest first
            if row.digest not in seen:
                seen.add(row.digest)
                left += row.size
            if left > rules.keep_bytes:
                gone.append(row)
    return gone


def _place(where: str, ambient: Ambient, client: RegistryClient) -> Place:
    system = os.uname()
    platform = host_platform(system.sysname, system.machine)
    path = absolute(ambient.cwd, where.removeprefix("oci:"))
    if where.startswith(("/", "./", "../", "oci:")) or os.path.isdir(path):
        if not os.path.exists(f"{path}/index.json"):
            raise UsageError(f"there is no cache in {path}", hints=("a cache has an `index.json`",))
        return DirectoryCache(os.path.normpath(path), platform)
    return RepositoryCache(where, lambda: client, platform)


def _rows(place: Place, parallel: int) -> tuple[Row, ...]:
    def row(name: str) -> Row:
        try:
            return Row(name, place.find(name))
        except ValueError:
            return Row(name, None)

    rows = _side_by_side(parallel, [lambda name=name: row(name) for name in place.names()])  # type: ignore[misc]
    return tuple(sorted(rows, key=lambda row: (-row.saved, row.name)))


def _side_by_side(parallel: int, calls: list[Callable[[], T]]) -> list[T]:
    pools = Pools(steps=1, transfers=parallel, cpu=1)
    try:
        tasks = [pools.transfers.submit(call) for call in calls]
        return [task.result() for task in tasks]
    finally:
        pools.close(Cancelled("the command has ended"))


def _layers_of(client: RegistryClient, images: tuple[str, ...]) -> frozenset[Digest]:
    found: set[Digest] = set()
    todo = [read_reference(text) for text in images]
    while todo:
        reference = todo.pop()
        document = client.get_manifest(reference)
        if isinstance(document, Index):
            todo += [Reference(reference.registry, reference.repository, "", x.digest) for x in document.manifests]
        else:
            found |= {layer.digest for layer in document.layers}
    return frozenset(found)


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
    total = sum({row.digest: row.size for row in rows}.values())
    return f"{text}{counted(len(rows), 'entry', 'entries')}, {human_size(total)}\n"


def _age(seconds: float) -> str:
    for name, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{name}"
    return f"{max(0.0, seconds):.0f}s"

"""`firkin buildx prune`, also `builder prune`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from firkin.builder.cache.usage import CacheItem, cache_items
from firkin.cli import values
from firkin.cli.asking import confirmed
from firkin.cli.cache_rows import AGES, DEFAULT, FIELDS, Test, is_age, rows_of, tests_of, verbose_text
from firkin.cli.command import Invocation
from firkin.cli.docker_config import read_docker_config
from firkin.cli.filters import parse_filters
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.store import run_in_namespaces, say
from firkin.render.rows import rows_text
from firkin.render.text import counted
from firkin.render.units import size4
from firkin.store.gc import prune
from firkin.store.pruned import Pruned
from firkin.store.store import Store

USAGE = "[OPTIONS]"
ABOUT = (
    "Remove the build cache: what no image and no running build needs. `firkin prune` removes images without a name as "
    "well."
)
OPTIONS = (
    Option(("--all", "-a"), "all", "flag", "all of it goes anyway; changes the question only", takes_value=False),
    Option(("--force", "-f"), "force", "flag", "do not ask", takes_value=False),
    Option(("--filter",), "filter", "many", "only what fits, e.g. `until=24h`, `type=regular`, `id~=^3f`, `shared`",
           "KEY=VALUE"),
    Option(("--reserved-space", "--keep-storage"), "reserved", "text", "keep up to SIZE of it, the newest", "SIZE"),
    Option(("--max-used-space",), "most", "text", "keep up to SIZE of it, the newest", "SIZE"),
    Option(("--min-free-space",), "free", "text", "remove only until SIZE is free on the disk", "SIZE"),
    Option(("--verbose",), "verbose", "flag", "show everything about each item", takes_value=False),
    Option(("--timeout",), "", "ignored", "there is no daemon to wait for", "TIME"),
    Option(("--builder",), "", "ignored", "there is one builder", "NAME"),
    *COMMON,
)  # fmt: skip
_SURE = {
    False: "WARNING! This will remove all dangling build cache.",
    True: "WARNING! This will remove all build cache.",
}


def run(invocation: Invocation) -> int:
    """Ask, prune in the namespaces of a build, tell. Raises UsageError."""
    arguments, ambient = invocation
    age_s, tests = _filters(invocation)
    keep = max(_size(invocation, "--reserved-space", "reserved"), _size(invocation, "--max-used-space", "most"))
    free = _size(invocation, "--min-free-space", "free")
    if not arguments.flag("force") and not confirmed(_SURE[arguments.flag("all")], " "):
        return 0
    root = settings_of(arguments, ambient).root

    def child() -> int:
        with Store(root, time.time) as store:
            items = tuple(item for item in cache_items(store) if all(test(item) for test in tests))
            room = room_to_keep(store, items, free) if free else keep
            names = _names(items) if tests else None
            gone = Pruned(()) if room is None else _pruned(store, ambient.now_s, age_s, room, names)
            store.layout.set_aside()
        write_out(_text(gone, items, ambient.now_s, verbose=arguments.flag("verbose")))
        tell_recent(gone)
        return 0

    return run_in_namespaces(root, child)


def _filters(invocation: Invocation) -> tuple[float, list[Test]]:
    """Return for how long something must not have been used, and the tests of the other filters. Raises UsageError."""
    now_s, config = invocation.ambient.now_s, read_docker_config(invocation.ambient).prune_filters
    words = (*invocation.arguments.many("filter"), *(word for word in config if word.partition("=")[0] in AGES))
    return cache_age_s(filter(is_age, words), now_s), tests_of([word for word in words if not is_age(word)], now_s)


def _names(items: Iterable[CacheItem]) -> set[str]:
    return {name for item in items for name in (item.id, f"sha256:{item.id}")}


def _pruned(store: Store, now_s: float, age_s: float, keep_bytes: int, only: set[str] | None) -> Pruned:
    return prune(
        store, now=now_s, older_than_s=age_s, keep_bytes=keep_bytes, unnamed_images=False, recent=True, only=only
    )


def _text(gone: Pruned, items: tuple[CacheItem, ...], now_s: float, *, verbose: bool) -> str:
    known = {item.id: item for item in items}
    names = dict.fromkeys(item.name.removeprefix("sha256:") for item in gone.freed)
    listed = [known[name] for name in names if name in known]
    if verbose:
        text = verbose_text(listed, now_s)
    else:
        text = rows_text("", FIELDS, rows_of(listed, now_s, marked=True), DEFAULT) if listed else ""
    return f"{text}Total:\t{size4(gone.size_bytes)}\n"


def cache_age_s(words: Iterable[str], now_s: float) -> float:
    """Return how long something must not have been used, by filters; 0 without one. Raises UsageError."""
    filters = parse_filters(words, AGES)
    both = parse_filters([f"until={word}" for key in AGES for word in filters.of(key)], AGES)
    before_s = both.before_s(now_s)
    return 0.0 if before_s is None else max(0.0, now_s - before_s)


def room_to_keep(store: Store, items: tuple[CacheItem, ...], free_bytes: int) -> int | None:
    """Return how much of the cache may stay so that so much of the disk is free, None if all of it may."""
    status = os.statvfs(store.layout.root)
    missing = free_bytes - status.f_bavail * status.f_frsize
    if missing <= 0:
        return None
    return max(sum(item.size_bytes for item in items) - missing, 1)  # 0 would mean no limit


def tell_recent(gone: Pruned) -> None:
    """Say on standard error what stayed because it is young, or of use to another process."""
    from firkin.store.pruned import RECENT

    for spared in gone.spared:
        if spared.why == RECENT:
            what = counted(spared.count, spared.kind, f"{spared.kind}s")
            say(f"note: {what} stayed: of use lately, or to a build that runs")


def _size(invocation: Invocation, option: str, dest: str) -> int:
    text = invocation.arguments.text(dest)
    return values.size_bytes(option, text) if text else 0

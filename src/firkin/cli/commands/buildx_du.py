"""`firkin buildx du`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import time

from firkin.builder.cache.usage import cache_items
from firkin.cli.cache_rows import DEFAULT, FIELDS, rows_of, tests_of, totals_text, verbose_text
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.store import run_in_namespaces
from firkin.render.rows import rows_text
from firkin.store.store import Store

USAGE = "[OPTIONS]"
ABOUT = (
    "Show the build cache: layers of steps and bases that are unpacked or recorded, cache mounts, downloads. An id "
    "with `*` is changed by steps, a size with `*` is also part of an image. `firkin du` shows the whole store."
)
OPTIONS = (
    Option(("--filter",), "filter", "many", "only items that fit, e.g. `type=exec.cachemount`, `until=24h`, `id~=^ab`",
           "KEY=VALUE"),
    Option(("--format",), "format", "text", "print `table`, `json`, or a template for each item", "FORMAT"),
    Option(("--verbose",), "verbose", "flag", "show everything about each item", takes_value=False),
    Option(("--timeout",), "", "ignored", "there is no daemon to wait for", "TIME"),
    Option(("--builder",), "", "ignored", "there is one builder", "NAME"),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """List the items in the namespaces of a build, which can read all trees. Raises UsageError."""
    arguments, ambient = invocation
    words, format = arguments.many("filter"), arguments.text("format")
    tests = tests_of(words, ambient.now_s)
    root = settings_of(arguments, ambient).root

    def child() -> int:
        with Store(root, time.time) as store:
            items = [item for item in cache_items(store) if all(test(item) for test in tests)]
        if arguments.flag("verbose"):
            text = verbose_text(items, ambient.now_s)
        else:
            plain = format in ("", "table")
            text = rows_text(format, FIELDS, rows_of(items, ambient.now_s, marked=plain), DEFAULT)
        if format in ("", "table") and not words:
            text += totals_text(items)
        write_out(text)
        return 0

    return run_in_namespaces(root, child)

"""`firkin system df`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import time

from firkin.builder.cache.usage import CacheItem, cache_items
from firkin.cli.command import Invocation
from firkin.cli.df_rows import DEFAULT, FIELDS, RAW, document_of, summary_rows, verbose_text
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.store import run_in_namespaces, say
from firkin.containers.disk import DiskUse, disk_use
from firkin.errors import StoreError, UsageError
from firkin.images.usage import ImagesUse, images_use
from firkin.render.documents import documents_text
from firkin.render.rows import rows_text
from firkin.store.store import Store

USAGE = "[OPTIONS]"
ABOUT = (
    "Show how much space images, containers, volumes and the build cache take, as docker counts it: images by their "
    "unpacked layers, each once. `firkin du` shows what the store takes on disk."
)
OPTIONS = (
    Option(("--format",), "format", "text", "print `table`, `json`, `raw`, or a template for each row", "FORMAT"),
    Option(("--verbose", "-v"), "verbose", "flag", "show every image and every item of the cache", takes_value=False),
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Measure in the namespaces of a build, which can read all trees. Raises UsageError."""
    arguments, ambient = invocation
    format, verbose = arguments.text("format"), arguments.flag("verbose")
    if verbose and (format == "raw" or format.startswith("table ")):
        raise UsageError("with `-v` the format is `table`, `json`, or a template for all of it")
    engine = open_engine(invocation)
    kept = disk_use(engine)

    def child() -> int:
        with Store(engine.root, time.time) as store:
            images, items = images_use(store, _damaged), cache_items(store)
        write_out(_text(images, items, kept, format, verbose, ambient.now_s))
        return 0

    return run_in_namespaces(engine.root, child)


def _text(
    images: ImagesUse, items: tuple[CacheItem, ...], kept: DiskUse, format: str, verbose: bool, now_s: float
) -> str:
    if verbose and format == "json":
        from firkin.templates.values import json_text

        return json_text(document_of(images, items, kept, now_s)) + "\n"
    if verbose and format not in ("", "table"):
        # docker ends no line here: the template does, if it wants to
        return documents_text(format, (document_of(images, items, kept, now_s),)).removesuffix("\n")
    if verbose:
        return verbose_text(images, items, kept, now_s)
    return rows_text(format, FIELDS, summary_rows(images, items, kept), DEFAULT, RAW)


def _damaged(digest: str, error: StoreError) -> None:
    say(f"warning: {digest}: {error.message} ({error.code})")

"""`firkin load`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os

from firkin.ambient import absolute
from firkin.cli.archives import PLATFORMS, chunks_of, metered, platforms_of, quiet_progress
from firkin.cli.build_options import BUILD
from firkin.cli.command import Invocation
from firkin.cli.moving import Moving, progress_name
from firkin.cli.options import COMMON, PROGRESS, Option
from firkin.cli.requests import unpack_limits
from firkin.cli.run import write_out
from firkin.cli.store import open_store, say, warn_plainly, with_interrupts
from firkin.errors import ContextError, UsageError
from firkin.images.load import Front, Loaded, LoadRequest, load_directory, load_stream
from firkin.images.names import read_tag
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS]"
ABOUT = (
    "Load images from an archive of `docker save`, `firkin save` or another tool into the store. "
    "The archive may be compressed; an OCI layout may also be a directory."
)
OPTIONS = (
    Option(("--input", "-i"), "input", "text", "read this archive or layout instead of standard input", "PATH"),
    Option(("--tag", "-t"), "tag", "text", "name the image of an archive that does not say its name", "NAME[:TAG]"),
    PLATFORMS,
    *(row for row in BUILD if row.dest in ("max_unpack_size", "max_unpack_entries")),
    *PROGRESS,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Load everything in the archive, or nothing. Raises UsageError and ContextError."""
    arguments, ambient = invocation
    source = arguments.text("input")
    if not source and os.isatty(0):
        raise UsageError("requested load from stdin, but stdin is empty", hints=("name a file with `-i FILE`",))
    platforms, text = platforms_of(arguments), arguments.text("tag")
    name = read_tag(text) if text else None
    store, settings = open_store(invocation)
    request = LoadRequest(
        platforms, name, name is None or text.endswith(f":{name.tag}"), unpack_limits(arguments, settings.unpack)
    )
    path = absolute(ambient.cwd, source) if source else ""
    progress = quiet_progress(progress_name(arguments, settings, ambient.environ), arguments)
    warnings: list[tuple[str, str]] = []

    def work(cancel: Cancel) -> int:
        with store, Moving(progress, "Loading") as moving:
            with moving.line("load", f"loading {source or 'standard input'}") as line:
                front = Front(cancel, metered(line), lambda code, message: warnings.append((code, message)))
                loaded = moving.during(lambda: _load(store, path, request, front))
        for code, message in warnings:
            warn_plainly(code, message)
        if not moving.as_json:
            _tell(loaded)
        return 0

    return with_interrupts(work)


def _load(store: Store, path: str, request: LoadRequest, front: Front) -> tuple[Loaded, ...]:
    if path and os.path.isdir(path):
        return load_directory(store, path, request, front)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY) if path else 0
    except OSError as error:
        raise ContextError(f"open {path}: {(error.strerror or '').lower()}", code="archive") from error
    try:
        return load_stream(store, chunks_of(fd, front.cancel), request, front)
    finally:
        if path:
            os.close(fd)


def _tell(loaded: tuple[Loaded, ...]) -> None:
    """Print what docker prints; that a name means another image now is told on standard error as well."""
    for image in loaded:
        for name, old_id in image.moved:
            short = name.familiar
            write_out(f"The image {short} already exists, renaming the old one with ID {old_id} to empty string\n")
            say(f"note: `{short}` meant {old_id} and means {image.id} now")
        for name in image.names:
            write_out(f"Loaded image: {name.familiar}\n")
        if not image.names:
            write_out(f"Loaded image ID: {image.id}\n")

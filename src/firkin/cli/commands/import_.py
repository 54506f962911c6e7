"""`firkin import`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from firkin.ambient import absolute
from firkin.cli.archives import chunks_of
from firkin.cli.build_options import BUILD
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.requests import unpack_limits
from firkin.cli.run import write_out
from firkin.cli.store import open_store, with_interrupts
from firkin.errors import ContextError, UsageError
from firkin.images.names import read_tag
from firkin.linux.machine import this_platform
from firkin.oci.config import RuntimeConfig
from firkin.oci.platform import Platform, parse_platform
from firkin.registry.settings import RegistrySettings
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] FILE|URL|- [NAME[:TAG]]"
ABOUT = "Make an image of a tar with a root file system, compressed or not. Prints its id."
OPTIONS = (
    Option(("--change", "-c"), "change", "many", "apply a Dockerfile instruction, e.g. `CMD [\"sh\"]` (CMD, "
           "ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR)", "INSTRUCTION"),
    Option(("--message", "-m"), "message", "text", "the comment in the image's history", "TEXT"),
    Option(("--platform",), "platform", "text", "say that the files are for this platform", "OS/ARCH[/VARIANT]",
           ("DOCKER_DEFAULT_PLATFORM",)),
    *(row for row in BUILD if row.dest in ("max_unpack_size", "max_unpack_entries")),
    *(row for row in REGISTRY if row.dest in ("tls_skip_verify", "tls_ca", "tls_cert")),
    *COMMON,
)  # fmt: skip
_URLS = ("http://", "https://")


def run(invocation: Invocation) -> int:
    """Import one archive. Raises UsageError, DockerfileError and ContextError."""
    arguments, ambient = invocation
    if not 1 <= len(arguments.operands) <= 2:
        raise UsageError("`firkin import` needs a file, a URL or `-`, and perhaps a name for the image")
    source, *names = arguments.operands
    if source == "-" and os.isatty(0):
        raise UsageError("standard input is a terminal", hints=("name a file, or pipe one in",))
    name = read_tag(names[0]) if names else None
    platform = _platform(arguments.text("platform"))
    runtime = _changed(arguments.many("change"), platform)
    store, settings = open_store(invocation)
    path = source if source == "-" or source.startswith(_URLS) else absolute(ambient.cwd, source)
    message = arguments.text("message") or f"Imported from {source if source.startswith(_URLS) else '-'}"

    def work(cancel: Cancel) -> int:
        from firkin.images.import_ import ImportRequest, import_image

        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        limits = unpack_limits(arguments, settings.unpack)
        request = ImportRequest(platform, created, message, runtime, name, limits)
        with store, _opened(path, settings.registry, cancel) as chunks:
            write_out(f"{import_image(store, chunks, request, cancel)}\n")
        return 0

    return with_interrupts(work)


def _changed(changes: tuple[str, ...], platform: Platform) -> RuntimeConfig:
    if not changes:
        return RuntimeConfig()
    from firkin.builder.dockerfile.changes import apply_changes

    return apply_changes(RuntimeConfig(), changes, platform)


def _platform(text: str) -> Platform:
    try:
        return parse_platform(text, this_platform()) if text else this_platform()
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None


@contextmanager
def _opened(path: str, settings: RegistrySettings, cancel: Cancel) -> Iterator[Iterator[bytes]]:
    """Yield the bytes of a file, a URL or standard input."""
    if path.startswith(_URLS):
        from firkin.builder.context.https import Web, document_chunks

        web = Web(settings, cancelled=cancel, now_s=time.time())
        try:
            yield document_chunks(web, path)
        finally:
            web.close()
        return
    try:
        fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise ContextError(f"open {path}: {(error.strerror or '').lower()}", code="archive") from error
    try:
        yield chunks_of(fd, cancel)
    except OSError as error:
        raise ContextError(f"read {path}: {(error.strerror or '').lower()}", code="archive") from error
    finally:
        if fd:
            os.close(fd)

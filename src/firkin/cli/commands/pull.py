"""`firkin pull`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.moving import Moving, progress_name
from firkin.cli.options import COMMON, PROGRESS, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.store import open_client, open_store, with_interrupts
from firkin.errors import UsageError
from firkin.images.names import read_reference
from firkin.images.progress import Transfer
from firkin.images.pull import look_up, pull_image
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] NAME[:TAG]..."
ABOUT = "Pull images into the store, where builds and `firkin push` find them. Prints their digests."
OPTIONS = (
    Option(("--platform",), "platform", "text", "pull for this platform", "OS/ARCH[/VARIANT]",
           ("DOCKER_DEFAULT_PLATFORM",)),
    *PROGRESS,
    *REGISTRY,
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Pull manifest, configuration and layers, then name the image. Raises UsageError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin pull` needs the name of an image")
    references = tuple(map(read_reference, arguments.operands))
    platform = _platform(arguments.text("platform"))
    store, settings = open_store(invocation)

    def work(cancel: Cancel) -> int:
        pulled = []
        with store, Moving(progress_name(arguments, settings, invocation.ambient.environ), "Pulling") as moving:
            with open_client(settings, cancel, moving.warn) as client:
                transfer = Transfer(store, client, cancel, settings.registry.parallel, moving.wait)
                for reference in references:
                    with moving.line(f"pull {reference}", f"pulling {reference}") as line:
                        image = look_up(transfer, reference, platform, moving.emit)
                        have = image.config.platform
                        if (have.os, have.architecture) != (platform.os, platform.architecture):
                            moving.warn("image-platform", f"`{reference.familiar}` is for {have}, not for {platform}")
                        pull_image(transfer, reference, image, line)
                        line.detail = image.manifest.digest
                    pulled.append(f"{reference.name}@{line.detail}\n")
        if not moving.as_json:
            write_out("".join(pulled))
        return 0

    return with_interrupts(work)


def _platform(text: str) -> Platform:
    host = this_platform()
    try:
        return parse_platform(text, host) if text else host
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None

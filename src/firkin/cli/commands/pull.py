"""`firkin pull`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.moving import Screen, progress_name
from firkin.cli.options import COMMON, PROGRESS, REGISTRY, Option
from firkin.cli.pulling import Pull
from firkin.cli.several import each
from firkin.cli.store import open_client, open_store, with_interrupts
from firkin.errors import UsageError
from firkin.images.names import read_reference
from firkin.images.progress import Transfer
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform
from firkin.oci.reference import Reference
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] NAME[:TAG|@DIGEST]..."
ABOUT = (
    "Pull images into the store, where builds and `firkin push` find them. A pull that was interrupted goes on where "
    "it stopped. Of an index the image for one platform is pulled, beside those that are there already."
)
OPTIONS = (
    Option(("--all-tags", "-a"), "all_tags", "flag", "pull every tag of the repository", takes_value=False),
    Option(("--platform",), "platform", "text", "pull for this platform", "OS/ARCH[/VARIANT]",
           ("DOCKER_DEFAULT_PLATFORM",)),
    Option(("--disable-content-trust",), "", "ignored", "firkin has no content trust", takes_value=False),
    *PROGRESS,
    *REGISTRY,
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Pull manifest, configuration and layers, then name the image. Raises UsageError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin pull` needs the name of an image")
    every_tag = arguments.flag("all_tags")
    names = [_name(text, every_tag) for text in arguments.operands]
    platform = _platform(arguments.text("platform"))
    store, settings = open_store(invocation)
    screen = Screen(progress_name(arguments, settings, invocation.ambient.environ), "Pulling")

    def work(cancel: Cancel) -> int:
        with store, open_client(settings, cancel, screen.warn) as client:
            transfer = Transfer(store, client, cancel, settings.registry.parallel, screen.wait)
            pull = Pull(transfer, screen, platform)
            each(names, pull.every_tag if every_tag else pull.one)
        return 0

    return with_interrupts(work)


def _name(text: str, every_tag: bool) -> Reference:
    reference = read_reference(text, default_tag="")
    if every_tag and (reference.tag or reference.digest is not None):
        raise UsageError("tag can't be used with --all-tags/-a")
    return reference


def _platform(text: str) -> Platform:
    host = this_platform()
    try:
        return parse_platform(text, host) if text else host
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None

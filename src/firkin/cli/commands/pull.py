"""`firkin pull`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.moving import Screen, progress_name
from firkin.cli.options import COMMON, PROGRESS, REGISTRY, Option
from firkin.cli.several import each
from firkin.cli.store import open_client, open_store, with_interrupts
from firkin.cli.words import PULL, LayerLines
from firkin.errors import UsageError
from firkin.images.names import read_reference
from firkin.images.progress import Transfer
from firkin.images.pull import Pulled, all_tags, look_up, pull_image
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
            pull = _Pull(transfer, screen, platform)
            each(names, pull.every_tag if every_tag else pull.one)
        return 0

    return with_interrupts(work)


class _Pull:
    """Pulls images and says what docker says."""

    def __init__(self, transfer: Transfer, screen: Screen, platform: Platform) -> None:
        self._transfer = transfer
        self._screen = screen
        self._platform = platform

    def one(self, name: Reference) -> None:
        """Pull one image. Raises RegistryError, StoreError."""
        if not name.tag and name.digest is None:
            name = msgspec.structs.replace(name, tag="latest")
            self._screen.say("Using default tag: latest\n")
        pulled = self._pull(name)
        self._end(pulled.reference.familiar, name, newer=pulled.newer)

    def every_tag(self, repository: Reference) -> None:
        """Pull every tag of a repository. Raises RegistryError, StoreError."""
        newer = False
        for name in all_tags(self._transfer, repository):
            newer = self._pull(name).newer or newer
        self._end(repository.familiar, repository, newer=newer)

    def _pull(self, name: Reference) -> Pulled:
        with self._screen.line(f"pull {name}", f"pulling {name}") as line:
            found = look_up(self._transfer, name, self._platform)
            what = found.reference.tag or found.reference.familiar
            self._screen.say(f"{what}: Pulling from {name.repository}\n")
            if not found.fits:
                have = found.image.config.platform
                self._screen.warn("image-platform", f"`{name.familiar}` is for {have}, not for {self._platform}")
            digests = [str(layer.descriptor.digest) for layer in found.image.layers]
            lines = LayerLines(PULL, dict(zip(digests, digests, strict=True)))
            pulled = pull_image(self._transfer, found, self._screen.listener(line, lines))
            line.detail = pulled.image.manifest.digest
        self._screen.say(f"Digest: {pulled.digest}\n")
        return pulled

    def _end(self, familiar: str, name: Reference, *, newer: bool) -> None:
        status = "Downloaded newer image" if newer else "Image is up to date"
        self._screen.say(f"Status: {status} for {familiar}\n")
        self._screen.result(f"{name}\n")


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

"""`firkin pull`. I; only `cli.run` may import it."""

from __future__ import annotations

import os
import time

from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import Invocation, write_out
from firkin.cli.shelf import open_client, open_store, reference_of, say, with_interrupts
from firkin.errors import Cancelled, UsageError
from firkin.events import Event, Warned
from firkin.oci.image import Image
from firkin.oci.platform import Platform, host_platform, parse_platform
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.render.text import human_size
from firkin.solve.cancel import Cancel
from firkin.solve.pools import Pools
from firkin.solve.resolve import ImageResolver
from firkin.store.store import Store

USAGE = "[OPTIONS] NAME[:TAG]..."
ABOUT = "Pull images into the store, where builds and `firkin push` find them. Prints their digests."
OPTIONS = (
    Option(("--platform",), "platform", "text", "pull for this platform", "OS/ARCH[/VARIANT]",
           ("DOCKER_DEFAULT_PLATFORM",)),
    Option(("--quiet", "-q"), "quiet", "flag", "do not tell of layers", takes_value=False),
    *REGISTRY,
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Pull manifest, configuration and layers, then name the image."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin pull` needs the name of an image")
    references = tuple(map(reference_of, arguments.operands))
    platform = _platform(arguments.text("platform"))
    store, settings = open_store(invocation)

    def emit(event: Event) -> None:
        if isinstance(event, Warned):
            say(f"warning: {event.message} ({event.code})")

    def work(cancel: Cancel) -> int:
        with store, open_client(settings, cancel) as client:
            resolver = ImageResolver(store, lambda: client, emit, time.time, pull=True)
            for reference in references:
                image = resolver.resolve(str(reference), platform).image
                have = image.config.platform
                if (have.os, have.architecture) != (platform.os, platform.architecture):
                    say(f"warning: `{reference.familiar}` is for {have}, not for {platform}")
                _layers(store, client, reference, image, cancel, settings.registry.parallel, arguments.flag("quiet"))
                store.images.tag(image.manifest.descriptor, (reference,), image.config.created)
                write_out(f"{reference.name}@{image.manifest.digest}\n")
        return 0

    return with_interrupts(work)


def _platform(text: str) -> Platform:
    system = os.uname()
    host = host_platform(system.sysname, system.machine)
    try:
        return parse_platform(text, host) if text else host
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None


def _layers(
    store: Store, client: RegistryClient, reference: Reference, image: Image, cancel: Cancel, parallel: int, quiet: bool
) -> None:
    def fetch(number: int) -> None:
        descriptor = image.layers[number].descriptor
        outcome = "exists"
        if not store.keeps(descriptor):
            writer = store.blobs.new()
            try:
                with client.open_blob(reference, descriptor) as stream:
                    for chunk in stream:
                        cancel.check()
                        writer.write(chunk)
                writer.commit(descriptor.digest)
            finally:
                writer.abort()
            outcome = "pulled"
        store.records.add_blob(descriptor.digest, descriptor.size)
        store.records.add_place(descriptor.digest, reference.registry, reference.repository)
        if not quiet:
            say(f"{descriptor.digest} {human_size(descriptor.size)} {outcome}")

    pools = Pools(steps=1, transfers=parallel, cpu=1)
    try:
        tasks = [pools.transfers.submit(lambda n=n: fetch(n)) for n in range(len(image.layers))]  # type: ignore[misc]
        for task in tasks:
            task.result()
    finally:
        pools.close(Cancelled("the pull has ended"))

"""`firkin pull`. I; only `cli.run` may import it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from firkin.cli.moving import Line, Moving, progress_name
from firkin.cli.options import COMMON, PROGRESS, REGISTRY, Option
from firkin.cli.run import Invocation, write_out
from firkin.cli.shelf import open_client, open_store, reference_of, with_interrupts
from firkin.errors import Cancelled, UsageError
from firkin.oci.descriptor import Descriptor
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
    *PROGRESS,
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

    def work(cancel: Cancel) -> int:
        pulled = []
        with store, Moving(progress_name(arguments, settings, invocation.ambient.environ), "Pulling") as moving:
            with open_client(settings, cancel, moving.warn) as client:
                resolver = ImageResolver(store, lambda: client, moving.emit, time.time, pull=True)
                puller = _Puller(store, client, cancel, settings.registry.parallel, moving)
                for reference in references:
                    with moving.line(f"pull {reference}", f"pulling {reference}") as line:
                        image = resolver.resolve(str(reference), platform).image
                        have = image.config.platform
                        if (have.os, have.architecture) != (platform.os, platform.architecture):
                            moving.warn("image-platform", f"`{reference.familiar}` is for {have}, not for {platform}")
                        puller.layers(reference, image, line)
                        store.images.tag(image.manifest.descriptor, (reference,), image.config.created)
                        line.detail = image.manifest.digest
                    pulled.append(f"{reference.name}@{line.detail}\n")
        if not moving.as_json:
            write_out("".join(pulled))
        return 0

    return with_interrupts(work)


def _platform(text: str) -> Platform:
    system = os.uname()
    host = host_platform(system.sysname, system.machine)
    try:
        return parse_platform(text, host) if text else host
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None


class _Puller:
    """Brings layers into the store."""

    def __init__(self, store: Store, client: RegistryClient, cancel: Cancel, parallel: int, moving: Moving) -> None:
        self._store = store
        self._client = client
        self._cancel = cancel
        self._parallel = parallel
        self._moving = moving

    def layers(self, reference: Reference, image: Image, line: Line) -> None:
        """Fetch the layers that are not here, side by side."""
        pools = Pools(steps=1, transfers=self._parallel, cpu=1)
        descriptors = {layer.descriptor.digest: layer.descriptor for layer in image.layers}
        try:
            self._moving.wait([
                pools.transfers.submit(lambda item=item: self._layer(reference, item, line))  # type: ignore[misc]
                for item in descriptors.values()
            ])  # fmt: skip
        finally:
            pools.close(Cancelled("the pull has ended"))

    def _layer(self, reference: Reference, descriptor: Descriptor, line: Line) -> None:
        if self._store.keeps(descriptor):
            line.say(f"{descriptor.digest} {human_size(descriptor.size)} exists")
        else:
            self._fetch(reference, descriptor, line.meter(descriptor.digest, descriptor.size))
        self._store.records.add_blob(descriptor.digest, descriptor.size)
        self._store.records.add_place(descriptor.digest, reference.registry, reference.repository)

    def _fetch(self, reference: Reference, descriptor: Descriptor, moved: Callable[[int], None]) -> None:
        writer = self._store.blobs.new()
        try:
            with self._client.open_blob(reference, descriptor) as stream:
                for chunk in stream:
                    self._cancel.check()
                    writer.write(chunk)
                    moved(writer.size)
            writer.commit(descriptor.digest)
        finally:
            writer.abort()

"""`firkin push`. I; only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.moving import Line, Moving, progress_name
from firkin.cli.options import COMMON, PROGRESS, REGISTRY
from firkin.cli.run import Invocation, write_out
from firkin.cli.shelf import find_image, open_client, open_store, reference_of, with_interrupts
from firkin.errors import Cancelled, UsageError
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.render.text import human_size
from firkin.request import RegistrySettings
from firkin.solve.cancel import Cancel
from firkin.solve.pools import Pools
from firkin.store.lookup import Found
from firkin.store.store import Store

USAGE = "[OPTIONS] IMAGE [NAME[:TAG]...]"
ABOUT = (
    "Push an image of the store to a registry: under its own name, or under the given names. "
    "Prints what it can be pulled by."
)
OPTIONS = (
    *PROGRESS,
    *REGISTRY,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Push blobs, manifests, then the tag, for each name."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin push` needs an image")
    source, *names = arguments.operands
    targets = tuple(map(reference_of, names))
    store, settings = open_store(invocation)

    def work(cancel: Cancel) -> int:
        with store:
            found = find_image(store, source)
            wanted = targets or _own_name(found, source)
            for target in wanted:
                if target.digest is not None:
                    raise UsageError(f"`{target}` has a digest; push to a tag")
            pushed = []
            name = progress_name(arguments, settings, invocation.ambient.environ)
            with Moving(name, "Pushing") as moving, open_client(settings, cancel, moving.warn) as client:
                pusher = _Pusher(store, client, settings.registry, cancel, moving)
                for target in wanted:
                    with moving.line(f"push {target}", f"pushing {target}") as line:
                        line.detail = pusher.push(found, target, line)
                    pushed.append(f"{target.name}:{target.tag}@{line.detail}\n")
        if not moving.as_json:
            write_out("".join(pushed))
        return 0

    return with_interrupts(work)


def _own_name(found: Found, text: str) -> tuple[Reference, ...]:
    """Return the name that an image was asked for by; an id says nothing about where to push."""
    if not found.by_name:
        raise UsageError(
            f"`{text}` is no name, so it does not say where to push",
            hints=(f"firkin push {text} REGISTRY/NAME:TAG",),
        )
    return (reference_of(text),)


class _Pusher:
    """Pushes one image to one repository."""

    def __init__(
        self, store: Store, client: RegistryClient, settings: RegistrySettings, cancel: Cancel, moving: Moving
    ) -> None:
        self._store = store
        self._client = client
        self._settings = settings
        self._cancel = cancel
        self._moving = moving

    def push(self, found: Found, target: Reference, line: Line) -> Digest:
        """Push everything; the name comes last, so it never points to something incomplete."""
        if found.index is not None and len(found.images) < len(found.index.manifests):
            raise UsageError(
                f"only {len(found.images)} of {len(found.index.manifests)} platforms of this image are in the store",
                hints=("push it from where all of it is",),
            )
        blobs = {layer.descriptor.digest: layer.descriptor for image in found.images for layer in image.layers}
        blobs |= {image.manifest.config.digest: image.manifest.config for image in found.images}
        pools = Pools(steps=1, transfers=self._settings.parallel, cpu=1)
        try:
            tasks = [
                pools.transfers.submit(lambda blob=blob: self._blob(target, blob, line))  # type: ignore[misc]
                for blob in blobs.values()
            ]
            self._moving.wait(tasks)
        finally:
            pools.close(Cancelled("the push has ended"))
        self._cancel.check()
        if found.index is None:
            manifest = found.images[0].manifest
            return self._client.push_manifest(target, manifest.raw, manifest.media_type)
        for image in found.images:
            by_digest = Reference(target.registry, target.repository, "", image.manifest.digest)
            self._client.push_manifest(by_digest, image.manifest.raw, image.manifest.media_type)
        return self._client.push_manifest(target, found.index.raw, found.index.media_type)

    def _blob(self, target: Reference, descriptor: Descriptor, line: Line) -> None:
        self._cancel.check()
        places = self._store.records.places(descriptor.digest)
        near = next((repository for registry, repository in places if registry == target.registry), "")
        outcome = self._client.push_blob(
            target, descriptor, lambda: self._store.blobs.open(descriptor.digest), mount_from=near,
            progress=line.meter(descriptor.digest, descriptor.size),
        )  # fmt: skip
        self._store.records.add_place(descriptor.digest, target.registry, target.repository)
        if outcome != "pushed":
            line.say(f"{descriptor.digest} {human_size(descriptor.size)} {outcome}")

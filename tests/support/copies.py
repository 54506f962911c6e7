"""Copies of images between any two places, and images to copy: for tests of `firkin/images/copy/`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import msgspec

from firkin.images.copy.convert import Form
from firkin.images.copy.copying import Copied, Job, Work, copy_image
from firkin.images.copy.opening import Opener, settled
from firkin.images.copy.places import parse_place
from firkin.images.copy.plan import ABOUT, Selection
from firkin.images.find import find_image
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.image import Image
from firkin.oci.manifest import Index, Manifest, encode_index, encode_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry
from support.stored import Heard

AMD64 = Platform("linux", "amd64")
EVERYTHING, UNCHANGED = Selection(AMD64), Form()
STATEMENT = b'{"predicateType":"https://spdx.dev/Document"}'


class Copier:
    """Copies as a front does; `heard` has the progress of the last copy."""

    def __init__(self, store: Store, place: Path, stack: ExitStack) -> None:
        self.cancel = Cancel()
        self.heard = Heard()
        self._store = store
        self.client = stack.enter_context(RegistryClient(RegistrySettings(retries=2), cancelled=self.cancel))
        self.opener = Opener(
            lambda: self.client, lambda: store, find_image, lambda path: str(place / path), self.cancel
        )

    def __call__(
        self, source: str, target: str, *, selection: Selection = EVERYTHING, form: Form = UNCHANGED,
        exact: bool = False, tags: tuple[Reference, ...] = (),
    ) -> Copied:
        self.heard = Heard()
        origin, goal = parse_place(source), parse_place(target)
        selection, form = settled(origin, goal, selection, form, exact=exact)
        work = Work(self.cancel, 3, lambda tasks: [task.result() for task in tasks] and None, self.heard,
                    lambda: self._store)  # fmt: skip
        job = Job(selection, form, exact, goal.reference.digest if goal.transport == "docker" else None, tags)
        with self.opener.source(origin) as opened, self.opener.target(goal) as end:
            return copy_image(opened, end, job, work)


def publish(
    registry: FakeRegistry, repository: str, *images: Image, layers: tuple[bytes, ...] = (), attested: bool = False
) -> str:
    """Put images into the registry, several (or attested ones) with their index; return the name.

    `attested` adds an attestation of the first one, as BuildKit does.
    """
    for data in (*layers, *(image.config.raw for image in images)):
        registry.add_blob(repository, data)
    alone = len(images) == 1 and not attested
    for image in images:
        registry.add_manifest(repository, "1" if alone else "", image.manifest.media_type, image.manifest.raw)
    if not alone:
        more = (attestation(registry, repository, images[0]),) if attested else ()
        index = index_of(*images, more=more)
        registry.add_manifest(repository, "1", index.media_type, index.raw)
    return f"{registry.host}/{repository}:1"


def attestation(registry: FakeRegistry, repository: str, image: Image) -> Descriptor:
    """Put an attestation of an image into the registry; return its entry in an index."""
    config = b"{}"
    for data in (config, STATEMENT):
        registry.add_blob(repository, data)
    layer = Descriptor("application/vnd.in-toto+json", digest_of(STATEMENT), len(STATEMENT))
    manifest = encode_manifest(
        Manifest(media.OCI_MANIFEST, Descriptor(media.OCI_CONFIG, digest_of(config), len(config)), (layer,))
    )
    registry.add_manifest(repository, "", manifest.media_type, manifest.raw)
    annotations = ((ABOUT, str(image.manifest.digest)), ("vnd.docker.reference.type", "attestation-manifest"))
    return msgspec.structs.replace(
        manifest.descriptor, platform=Platform("unknown", "unknown"), annotations=annotations
    )


def index_of(*images: Image, more: tuple[Descriptor, ...] = ()) -> Index:
    """Return the index of some images, each with its platform."""
    entries = tuple(
        msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform) for image in images
    )
    return encode_index(Index(media.OCI_INDEX, (*entries, *more)))

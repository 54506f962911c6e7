"""`firkin manifest`: joins images of several platforms under one name. I; only `cli.run` may import it."""

from __future__ import annotations

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.shelf import open_client, with_interrupts
from firkin.errors import UsageError
from firkin.images.transfer import read_reference
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.manifest import Index, Manifest, encode_index
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.tasks.cancel import Cancel

USAGE = "create [OPTIONS] NAME[:TAG] IMAGE..."
ABOUT = (
    "Push an index that lists images of one repository, one for each platform, as jobs of several machines have "
    "pushed them. IMAGE is a tag or digest; an index counts for all of its images. Prints what it can be pulled by."
)
OPTIONS = (*REGISTRY, *COMMON)


def run(invocation: Invocation) -> int:
    """Look the images up, push the index."""
    operands = invocation.arguments.operands
    if operands and operands[0] != "create":
        raise UsageError(
            f"`firkin manifest` cannot `{operands[0]}`",
            hints=("it can only `create`, which pushes as well; `skopeo inspect --raw` shows an index",),
        )
    if len(operands) < 3:
        raise UsageError("`firkin manifest create` needs a name and at least one image",
                         hints=("firkin manifest create reg/app:1 reg/app:1-amd64 reg/app:1-arm64",))  # fmt: skip
    target, *sources = map(read_reference, operands[1:])
    if target.digest is not None:
        raise UsageError(f"`{target}` has a digest; push to a tag")
    for source in sources:
        if source.name != target.name:
            raise UsageError(f"`{source}` is in another repository than `{target}`",
                             hints=("an index lists what its own repository has: push the image there",))  # fmt: skip
    settings = settings_of(invocation.arguments, invocation.ambient)

    def work(cancel: Cancel) -> int:
        with open_client(settings, cancel) as client:
            entries = tuple(entry for source in sources for entry in _entries(client, source))
            _refuse_equal(entries)
            family: media.Family = "docker" if all("docker" in entry.media_type for entry in entries) else "oci"
            index = encode_index(Index(media.index_media_type(family), entries))
            digest = client.push_manifest(target, index.raw, index.media_type)
        write_out(f"{target.name}:{target.tag}@{digest}\n")
        return 0

    return with_interrupts(work)


def _entries(client: RegistryClient, source: Reference) -> tuple[Descriptor, ...]:
    """Return the images that a name means, each with its platform."""
    document = client.get_manifest(source)
    if isinstance(document, Index):
        return document.manifests
    return (_described(client, source, document),)


def _described(client: RegistryClient, source: Reference, manifest: Manifest) -> Descriptor:
    platform = client.get_config(source, manifest).platform
    return msgspec.structs.replace(manifest.descriptor, platform=platform)


def _refuse_equal(entries: tuple[Descriptor, ...]) -> None:
    seen: dict[str, Descriptor] = {}
    for entry in entries:
        platform = str(entry.platform)
        other = seen.setdefault(platform, entry)
        if other.digest != entry.digest and entry.platform is not None and entry.platform.os != "unknown":
            raise UsageError(f"two images are for {platform}: {other.digest} and {entry.digest}")

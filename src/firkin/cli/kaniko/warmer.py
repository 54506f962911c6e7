"""`warmer`: fetches base images into an OCI layout that executors read. I; only `cli.executor` may import it.

The layout lists an image for each name; blobs are shared. An executor still asks the registry what a name means now,
and takes the blobs from here (`BuildRequest.image_dir`), so a layout that is out of date does no harm.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from firkin.ambient import Ambient, absolute
from firkin.cli.kaniko.parse import Values
from firkin.cli.kaniko.request import executor_registry
from firkin.content.fetch import copy_chunks
from firkin.errors import ContextError, FirkinError, RegistryError, UsageError
from firkin.images.archive import output_file
from firkin.images.oci_layout import write_directory
from firkin.linux.ending import watch
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.image import Image, image_of
from firkin.oci.manifest import Index, choose_manifest
from firkin.oci.platform import Platform, host_platform, parse_platform
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.client import RegistryClient
from firkin.render.logs import LogRenderer
from firkin.source import Source
from firkin.tasks.cancel import Cancel


def warm(flags: Values, ambient: Ambient, log: LogRenderer) -> int:
    """Fetch the images; fails only if none could be fetched."""
    system = os.uname()
    host = host_platform(system.sysname, system.machine)
    try:
        platform = parse_platform(flags.text("customPlatform"), host) if flags.text("customPlatform") else host
        names = [parse_reference(name) for name in _names(flags, ambient, platform, host)]
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not names:
        raise UsageError("you must select at least one image to cache or a dockerfile to parse")
    place = absolute(ambient.cwd, flags.text("cache-dir"))
    failed: list[FirkinError] = []
    watch()
    with RegistryClient(executor_registry(flags, ambient)) as client:
        for name in dict.fromkeys(names):
            log.log("info", f"Retrieving image {name}", ambient.now_s)
            try:
                _Warmer(client, place, flags, ambient.now_s).fetch(name, platform)
            except FirkinError as error:
                failed.append(error)
                log.log("warning", f"Failed to warm {name}: {error.message}", ambient.now_s)
    if len(failed) == len(dict.fromkeys(names)):
        raise failed[0]
    return 0


def _names(flags: Values, ambient: Ambient, platform: Platform, host: Platform) -> list[str]:
    names = list(flags.many("image"))
    path = flags.text("dockerfile")
    if not path:
        return names
    from firkin.builder.dockerfile.lower import list_images
    from firkin.builder.dockerfile.parse import parse
    from firkin.builder.dockerfile.state import LowerOptions
    from firkin.cli.values import build_args
    from firkin.linux.files import read_beneath

    directory, _, file_name = absolute(ambient.cwd, path).rpartition("/")
    try:
        text = read_beneath(directory or "/", file_name).decode("utf-8", "surrogateescape")
    except OSError as error:
        why = (error.strerror or "").lower()
        raise ContextError(f"cannot read {path}: {why}", code="dockerfile-missing") from error
    options = LowerOptions(platform, host, build_args=build_args(flags.many("build-arg"), ambient.environ))
    return names + [name for name, _ in list_images(parse(Source(path, text)), options)]


class _Directory:
    """The blobs of a layout that is being filled."""

    def __init__(self, place: str) -> None:
        self._place = place

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob from its start."""
        return open(f"{self._place}/blobs/{digest.replace(':', '/')}", "rb")


class _Warmer:
    def __init__(self, client: RegistryClient, place: str, flags: Values, now_s: float) -> None:
        self._client = client
        self._place = place
        self._force = flags.flag("force")
        self._oldest_s = now_s - flags.seconds("cache-ttl")

    def fetch(self, name: Reference, platform: Platform) -> None:
        """Have every blob of an image in the layout; what is there already and not too old stays."""
        image = self._describe(name, platform)
        try:
            os.makedirs(f"{self._place}/blobs/sha256", exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write {self._place}: {(error.strerror or '').lower()}") from error
        for layer in image.layers:
            self._blob(name, layer.descriptor)
        write_directory((image,), None, (name,), _Directory(self._place), self._place)

    def _describe(self, name: Reference, platform: Platform) -> Image:
        document = self._client.get_manifest(name)
        if isinstance(document, Index):
            chosen = choose_manifest(document, platform)
            if chosen is None:
                raise ContextError(f"{name} is not there for {platform}", code="platform-missing")
            document = self._client.get_manifest(Reference(name.registry, name.repository, "", chosen.digest))
        if isinstance(document, Index):
            raise ContextError(f"{name} is an index of indexes", code="platform-missing")
        try:
            return image_of(self._client.get_config(name, document), document)
        except ValueError as error:
            raise RegistryError(f"{name}: {error}", code="image-invalid") from error

    def _blob(self, name: Reference, descriptor: Descriptor) -> None:
        path = f"{self._place}/blobs/{descriptor.digest.replace(':', '/')}"
        try:
            known = os.stat(path)
        except FileNotFoundError:
            pass
        else:
            if known.st_size == descriptor.size and known.st_mtime >= self._oldest_s and not self._force:
                return
        with output_file(path, None) as target, self._client.open_blob(name, descriptor) as chunks:
            copy_chunks(chunks, target, Cancel())

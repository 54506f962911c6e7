"""`warmer`: fetches base images into an OCI layout that executors read (`images/warm.py`). Does I/O."""

from __future__ import annotations

import math

from firkin.ambient import Ambient, absolute
from firkin.cli.kaniko.parse import Values
from firkin.cli.kaniko.request import executor_registry
from firkin.errors import ContextError, FirkinError, UsageError
from firkin.images.warm import warm_image
from firkin.linux.ending import watch
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.render.logs import LogRenderer
from firkin.source import Source
from firkin.tasks.cancel import Cancel


def warm(flags: Values, ambient: Ambient, log: LogRenderer) -> int:
    """Fetch the images; fails only if none could be fetched. Raises UsageError."""
    host = this_platform()
    try:
        platform = parse_platform(flags.text("customPlatform"), host) if flags.text("customPlatform") else host
        names = [parse_reference(name) for name in _names(flags, ambient, platform, host)]
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not names:
        raise UsageError("you must select at least one image to cache or a dockerfile to parse")
    place = absolute(ambient.cwd, flags.text("cache-dir"))
    oldest_s = math.inf if flags.flag("force") else ambient.now_s - flags.seconds("cache-ttl")
    failed: list[FirkinError] = []
    watch()
    with RegistryClient(executor_registry(flags, ambient)) as client:
        for name in dict.fromkeys(names):
            log.log("info", f"Retrieving image {name}", ambient.now_s)
            try:
                warm_image(client, place, name, platform, oldest_s, Cancel())
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

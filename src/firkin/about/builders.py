"""The one builder that is always there: firkin itself, under any name. Does I/O.

Jobs written for `docker buildx create --use` and docker/setup-buildx-action go on: every name that they give means
this builder, and nothing is kept about it. Mirrors: docker/buildx builder, store.ValidateName.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from firkin import __version__
from firkin.errors import UsageError
from firkin.linux.emulators import runnable_platforms

NAME = "firkin"
DRIVERS = ("docker", "docker-container", NAME)
_RESERVED = "default"
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9._-]*")
_LOCAL = ("", "default", "unix://", "unix:///var/run/docker.sock", "unix:///run/docker.sock")


class Builder(NamedTuple):
    """The builder as it is shown under a name."""

    name: str
    driver: str
    endpoint: str
    status: str
    version: str
    platforms: tuple[str, ...]


def find_builder(name: str = "") -> Builder:
    """Return the builder. Raises UsageError for what cannot be a name."""
    platforms = tuple(str(platform) for platform in runnable_platforms())
    return Builder(checked_name(name or NAME), NAME, "this machine", "running", __version__, platforms)


def checked_name(name: str) -> str:
    """Return a name of a builder. Raises UsageError."""
    if not _NAME.fullmatch(name):
        hint = "it begins with a letter, which letters, digits and `._-` may follow"
        raise UsageError(f"invalid builder name `{name}`", hints=(hint,))
    return name


def create_builder(name: str, driver: str, endpoint: str) -> str:
    """Return the name for a new builder, if firkin can be what is asked for. Raises UsageError."""
    if name == _RESERVED:
        raise UsageError("default is a reserved name and cannot be used to identify builder instance")
    if driver and driver not in DRIVERS:
        raise UsageError(f"there is no driver `{driver}`: firkin builds in its own process", hints=(_HERE,))
    if endpoint not in _LOCAL:
        raise UsageError(f"cannot build at `{endpoint}`: firkin builds in its own process", hints=(_HERE,))
    return checked_name(name or NAME)


_HERE = "run the build on the machine that is to do it"

"""The foreign platforms whose programs this machine runs in emulation. Does I/O."""

from __future__ import annotations

import os

from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, host_platform

_PLACE = "/proc/sys/fs/binfmt_misc"


def runnable_platforms(place: str = _PLACE) -> tuple[Platform, ...]:
    """Return the platform of this machine, then those that qemu emulates. Spec: kernel admin-guide binfmt-misc."""
    own = this_platform()
    found = [own, Platform("linux", "386")] if own.architecture == "amd64" else [own]
    try:
        names = sorted(os.listdir(place))
    except OSError:
        return tuple(found)
    for name in names:
        machine = name.removeprefix("qemu-")
        if machine != name and _enabled(f"{place}/{name}"):
            platform = host_platform("Linux", machine)
            if platform not in found and platform.architecture != own.architecture:
                found.append(platform)
    return tuple(found)


def _enabled(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(16).startswith(b"enabled")
    except OSError:
        return False

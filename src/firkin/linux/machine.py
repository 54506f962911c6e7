"""The platform of this machine, and its kernel. Does I/O. Any module above `linux` may import it."""

from __future__ import annotations

import os

from firkin.oci.platform import Platform, host_platform


def this_platform() -> Platform:
    """Return the platform of the machine (uname(2)) that this process runs on."""
    system = os.uname()
    return host_platform(system.sysname, system.machine)


def kernel_version() -> tuple[int, int]:
    """Return the version of the kernel, e.g. (6, 1)."""
    major, _, rest = os.uname().release.partition(".")
    minor = "".join(char for char in rest.partition(".")[0] if char.isdigit())
    return int(major), int(minor or 0)

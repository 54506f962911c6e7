"""The platform of this machine. Does I/O. Any module above `linux` may import it."""

from __future__ import annotations

import os

from firkin.oci.platform import Platform, host_platform


def this_platform() -> Platform:
    """Return the platform of the machine (uname(2)) that this process runs on."""
    system = os.uname()
    return host_platform(system.sysname, system.machine)

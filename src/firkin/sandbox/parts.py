"""The parts of a stand-alone program that starts containers. Does I/O."""

from __future__ import annotations

import os

_PLACE = os.path.dirname(os.path.abspath(__file__))
# They define `contain` (`init/contain.py`), which starts containers.
FOR_CONTAINERS = tuple(
    os.path.normpath(f"{_PLACE}/{name}.py")
    for name in (
        "operations", "../oci/users", "init/kernel", "init/image_root", "init/mount_calls", "init/real_mounts",
        "init/container_mounts", "init/command", "init/reaper", "init/contain",
    )
)  # fmt: skip

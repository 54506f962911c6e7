"""The directory of a cache mount: a file with its id, and a subdirectory that commands see. Does I/O.

Only this module knows the names in it. `builder/solve/cache_mounts.py` decides where the directories are and which
build may use them; `leftovers.py` removes them.
"""

from __future__ import annotations

import os
import stat

from firkin.store.layout import StoreLayout

_FILES = "fs"


def files_of(place: str) -> str:
    """Return the directory that commands see of the cache mount at `place`."""
    return f"{place}/{_FILES}"


def is_sound(place: str) -> bool:
    """Say whether a cache mount is at `place`, in two real directories: a command may have left links instead."""
    try:
        return all(stat.S_ISDIR(os.lstat(path).st_mode) for path in (place, files_of(place)))
    except (FileNotFoundError, NotADirectoryError):
        return False


def stage_mount(layout: StoreLayout, mount_id: str) -> str:
    """Make an empty cache mount in the scratch space and return its path; the caller fills it and renames it."""
    place = layout.scratch_path("mount")
    os.makedirs(files_of(place))
    with open(f"{place}/id", "w", encoding="utf-8") as file:
        file.write(mount_id)
    return place

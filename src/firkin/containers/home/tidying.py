"""Clears what stores that are gone left outside of themselves: runtime directories and control groups. Does I/O.

Whoever makes the runtime directory of a store does it, once a boot, and looks at a bounded number of them.
"""

from __future__ import annotations

import os
import re
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from contextlib import suppress
from itertools import islice

from firkin.containers.limits.facts import CgroupFacts, read_cgroups
from firkin.containers.limits.plan import PARENT
from firkin.linux.cgroups import member_pids, remove_groups
from firkin.linux.folders import remove_tree

_ID = re.compile("[0-9a-f]{64}")
_STORE = "store"
"""The name of a symbolic link in a runtime directory, whose text is the path of its store."""
_MOST, _MOST_LOOKS = 32, 4096
_OLD_S = 3600.0
_YOUNG_S = 60.0
"""A group is empty for a moment before its container is in it."""


def tidy(base: str, root: str, user_runtime: str) -> None:
    """Say that the runtime directory `base` is of the store `root`; remove those of stores that are not there any more.

    `user_runtime` is the user's directory for runtime files, "" for none.
    """
    with suppress(OSError):
        os.symlink(root, f"{base}/{_STORE}")
    parent = os.path.dirname(base)
    with suppress(OSError):
        paths = (f"{parent}/{name}" for name in islice(os.listdir(parent), _MOST_LOOKS))
        for path in islice((path for path in paths if path != base and _is_lost(path)), _MOST):
            with suppress(OSError):
                remove_tree(path)
    remove_empty_groups(read_cgroups(uid=os.geteuid(), runtime_dir=user_runtime), time.time())


def _is_lost(runtime: str) -> bool:
    """Say whether the store of a runtime directory is gone; no monitor may be left that listens there.

    One that does not say whose it is, and that nobody touches, is of an older firkin.
    """
    try:
        try:
            here = os.path.lexists(os.readlink(f"{runtime}/{_STORE}"))
        except FileNotFoundError:
            here = time.time() - os.stat(runtime).st_mtime < _OLD_S
        if here:
            return False
        return not any(_listens(f"{runtime}/{name}/socket") for name in islice(os.listdir(runtime), _MOST_LOOKS))
    except OSError:
        return False


def _listens(path: str) -> bool:
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError:
        return False
    finally:
        connection.close()
    return True


def remove_empty_groups(facts: CgroupFacts, now_s: float) -> None:
    """Remove groups of containers that have been empty for a while."""
    for base in dict.fromkeys(facts.bases.values()):
        with suppress(OSError):
            for name in islice(filter(_ID.fullmatch, os.listdir(f"{base}{PARENT}")), _MOST):
                path = f"{base}{PARENT}/{name}"
                with suppress(OSError):
                    group = {"version": facts.version, "paths": {"": path}}
                    if now_s - os.stat(path).st_ctime > _YOUNG_S and not member_pids(group):
                        remove_groups(group)

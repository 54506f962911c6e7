"""A chroot made by hand, whose root directory is no mount point: neither mounts nor namespaces work in it."""

import os
import sys
from pathlib import Path

from support.accounts import Firkin
from support.places import REPOSITORY

# $1 is the new root; what follows runs in it. The mounts vanish with the namespace.
_SCRIPT = """
set -e; mkdir -p "$1"
root=$1; shift
for name in $NAMES; do mkdir -p "$root/$name"; mount --rbind "/$name" "$root/$name"; done
for name in bin sbin lib lib64; do [ -e "$root/$name" ] || [ ! -L "/$name" ] || ln -s "usr/$name" "$root/$name"; done
exec chroot "$root" "$@"
"""


def chrooted(firkin: Firkin, *argv: str) -> tuple[list[str], dict[str, str]]:
    """Return a command that runs `argv` as root in such a chroot, beside this firkin's store, and its environment."""
    root = firkin.place / "root"
    tops = {Path(place).parts[1] for place in (REPOSITORY, firkin.place, sys.executable, os.path.realpath(sys.executable))}
    names = " ".join(sorted(tops | {"usr", "etc", "proc", "dev"}))
    environment = {**firkin.environment(), "NAMES": names}
    return ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", str(root), *argv], environment

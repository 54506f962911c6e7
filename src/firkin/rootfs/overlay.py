"""Roots as overlay mounts: layer trees below, an upper directory that takes the changes. Does I/O. See `rootfs`.

    SCRATCH/upper     is renamed to the next layer's tree
    SCRATCH/work      used by overlayfs itself
    SCRATCH/run       for the sandbox: mount points, discarded writes

The sandbox mounts it in the command's mount namespace; the mount vanishes with that namespace.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firkin.errors import HostError, StoreError
from firkin.linux import mounts
from firkin.linux.folders import copy_attributes, remove_tree
from firkin.linux.mounts import Overlay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class OverlayRoot:
    """One writable overlay; `upper` has the changes when the command has ended."""

    def __init__(self, lowers: tuple[str, ...], scratch: str) -> None:
        self.scratch = f"{scratch}/run"
        self.upper = f"{scratch}/upper"
        self.mount = Overlay(lowers, self.upper, f"{scratch}/work", self.scratch)

    def seal(self, tree: str, covered: tuple[str, ...] = ()) -> None:
        """Rename the upper directory to `tree`, which must not exist or be empty; see `Root.seal`.

        Raises StoreError.
        """
        try:
            os.rename(self.upper, tree)
        except OSError as error:
            raise StoreError(f"cannot keep the layer of a step: {(error.strerror or '').lower()}") from error


class OverlayRootfs:
    """Makes roots as overlay mounts. The sandbox needs the right to mount, as root or in a user namespace."""

    @contextmanager
    def open(self, lowers: tuple[str, ...], scratch: str) -> Iterator[OverlayRoot]:
        """Make the directories of one overlay; see `Rootfs.open`. Raises HostError."""
        if len(lowers) >= mounts.MAX_LOWERS:
            raise HostError(
                f"an image of {len(lowers)} layers cannot be mounted",
                code="overlay-depth",
                hints=(f"overlayfs takes {mounts.MAX_LOWERS - 1}; merge some RUN or COPY instructions",),
            )
        root = OverlayRoot(lowers, scratch)
        try:
            for path in (root.upper, f"{scratch}/work", root.scratch):
                os.mkdir(path, 0o755)
            if lowers:
                copy_attributes(lowers[0], root.upper)
            yield root
        finally:
            remove_tree(scratch)


def drop_stubs(upper: str, paths: Iterable[str], lent: Iterable[str] = ()) -> None:
    """Remove mount points that the image lacks from an upper directory, if they are empty.

    They are there if the command changed their mode or owner, or put something beside them and removed it again.
    `paths` are relative, the deepest first. `lent` are files that only the command should see: they are removed
    whatever the command did with them. Mirrors: buildkit executor.MountStubsCleaner.
    """
    real = os.path.realpath(upper)

    def is_there(full: str, folder: str) -> bool:
        # The command may have replaced a directory of the path by a link that leads out of the root.
        return os.path.realpath(folder) == folder and os.path.lexists(full)

    for path in lent:
        full = f"{real}/{path}"
        if is_there(full, os.path.dirname(full)):
            remove_tree(full)
    for path in paths:
        full = f"{real}/{path}"
        folder = os.path.dirname(full)
        if not is_there(full, folder):
            continue
        times = os.stat(folder)
        try:
            if os.path.isdir(full) and not os.path.islink(full):
                os.rmdir(full)
            elif os.path.isfile(full) and not os.lstat(full).st_size:
                os.unlink(full)
        except OSError:
            continue  # it is not empty
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))

"""Roots as overlay mounts: layer trees below, an upper directory that takes the changes. Does I/O. See `rootfs`.

    SCRATCH/upper     becomes the next layer's tree by rename
    SCRATCH/work      overlayfs's own
    SCRATCH/run       for the sandbox: mount points, discarded writes

The mount itself is the sandbox's business: it lives in the command's mount namespace and dies with it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firkin.errors import HostError, StoreError
from firkin.linux import mounts
from firkin.linux.folders import remove_tree
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
    """Needs the mount right, of root or of a user namespace, in the sandbox."""

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
                _copy_attributes(lowers[0], root.upper)
            yield root
        finally:
            remove_tree(scratch)


def drop_stubs(upper: str, paths: Iterable[str], lent: Iterable[str] = ()) -> None:
    """Take mount points, which the image lacks, out of an upper directory if nothing was put into them.

    They are there when the command changed their mode or owner, or put something beside them for a while.
    `paths` are relative, the deepest first; `lent` are files that only the command was to see, which go
    whatever it did with them. Mirrors: buildkit executor.MountStubsCleaner.
    """
    real = os.path.realpath(upper)

    def is_there(full: str, folder: str) -> bool:
        # A directory on the way may have become a link, which leads anywhere.
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
            continue  # there is something in it
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))


def _copy_attributes(source: str, target: str) -> None:
    # Overlayfs shows the upper directory's own owner, mode and times as those of `/`.
    info = os.stat(source)
    try:
        os.chown(target, info.st_uid, info.st_gid)
    except OSError:
        pass  # an owner that this user namespace has no number for
    os.chmod(target, info.st_mode & 0o7777)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))

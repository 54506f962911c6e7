"""Blobs that came only in part: kept in `downloads/HEX.part`, so that the next pull goes on there. Does I/O.

A partial blob is the beginning of the blob with this digest, as far as it came; nothing vouches for it, so whoever goes
on reads it again and verifies the whole blob. Its file is locked (flock) by the process that writes it: another one
writes into its scratch space instead. It gets its final name by a rename, like every blob. What is left by a process
that was killed is removed by `firkin prune` like other downloads, and by `tidy_partials`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

from firkin.errors import StoreError
from firkin.oci.digest import Digest
from firkin.store.layout import StoreLayout, store_error

SUFFIX = ".part"
KEPT_S = 7 * 24 * 3600.0
"""A partial blob that nobody went on with for so long is removed by the next pull."""
KEPT_BYTES = 16 << 30
"""All partial blobs together; the oldest go first."""
WORTH_BYTES = 1 << 20
"""A shorter beginning is not worth keeping."""
_CHUNK = 1 << 20


class PartialBlob:
    """The beginning of one blob, open for writing at its end: `write`, then `commit`, `leave` or `drop`."""

    def __init__(self, layout: StoreLayout, digest: Digest, path: str, descriptor: int) -> None:
        self._layout = layout
        self._digest = digest
        self._path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def held(self) -> Iterator[bytes]:
        """Yield what is here already; raises StoreError."""
        at, end = 0, self.size
        while at < end:
            try:
                chunk = os.pread(self._descriptor, min(_CHUNK, end - at), at)
            except OSError as error:
                raise store_error("cannot read a partial blob", error) from error
            if not chunk:
                raise StoreError("a partial blob has become shorter", code="store-io")
            at += len(chunk)
            yield chunk

    def write(self, data: bytes) -> None:
        """Append bytes; raises StoreError. On a full disk nothing is kept, since the space is needed by others."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, self.size)
                self.size += written
                view = view[written:]
        except OSError as error:
            failure = store_error("cannot write a blob", error)
            if failure.code == "disk-full":
                self.drop()
            raise failure from error

    def restart(self) -> None:
        """Forget what is here; raises StoreError."""
        try:
            os.ftruncate(self._descriptor, 0)
        except OSError as error:
            raise store_error("cannot write a blob", error) from error
        self.size = 0

    def commit(self) -> None:
        """Put the blob in its place. The caller has verified all of it against its digest. Raises StoreError."""
        try:
            os.fchmod(self._descriptor, 0o644)
            os.rename(self._path, self._layout.blob_path(self._digest))
        except OSError as error:
            raise store_error("cannot keep a blob", error) from error
        self._close()

    def leave(self) -> None:
        """Leave what came for the next time, if it is worth it. Does nothing after `commit` and `drop`."""
        if self._descriptor >= 0 and self.size < WORTH_BYTES:
            self.drop()
        self._close()

    def drop(self) -> None:
        """Remove what came."""
        if self._descriptor >= 0:
            _unlink(self._path)
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def open_partial(layout: StoreLayout, digest: Digest) -> PartialBlob:
    """Go on with a partial blob, or begin one; while another process writes it, begin one in the scratch space.

    Raises StoreError.
    """
    path = f"{layout.downloads}/{digest.partition(':')[2]}{SUFFIX}"
    try:
        os.makedirs(layout.downloads, mode=0o755, exist_ok=True)
        descriptor = _open(path)
        if descriptor < 0:
            path = layout.scratch_path("blob")
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return PartialBlob(layout, digest, path, descriptor)
    except OSError as error:
        raise store_error("cannot write a blob", error) from error


def _open(path: str) -> int:
    """Open and lock a file; -1 if another process has locked it, or removed it at this moment."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.utime(descriptor)  # its time of change is its last use: see remove_downloads in store/leftovers.py
        if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return -1


def tidy_partials(layout: StoreLayout, now: float) -> None:
    """Remove partial blobs that are too old, and the oldest when all of them take too much space."""
    found = []
    for name in os.listdir(layout.downloads) if os.path.isdir(layout.downloads) else ():
        if name.endswith(SUFFIX):
            try:
                status = os.lstat(f"{layout.downloads}/{name}")
            except FileNotFoundError:
                continue
            found.append((status.st_ctime, status.st_blocks * 512, f"{layout.downloads}/{name}"))
    left = sum(size for _, size, _ in found)
    for used, size, path in sorted(found):
        if (now - used > KEPT_S or left > KEPT_BYTES) and _remove_unlocked(path):
            left -= size


def _remove_unlocked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _unlink(path)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return

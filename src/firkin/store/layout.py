"""The store's directories, version, locks and scratch space. Does I/O.

    ROOT/
      version               "3\n"; an earlier store is converted, a later one is refused (store/versions.py)
      oci/                  an OCI image layout that other tools can read in place
        oci-layout, index.json, blobs/sha256/HEX
      trees/ID/fs           an unpacked layer: an overlay diff directory (whiteouts are 0:0 devices)
      trees/ID/index        its compact index (layer/index.py), if one was written
      trees/ID/root-changed where the step changed the attributes of `/`
      indexes/HEX           the index of a layer that need not be unpacked; named as its tree would be, or by diff_id
                            and blob digest if somebody looked into its image (images/explore/)
      mounts/ID/            cache mounts of RUN, with a lock file beside each (ID.lock); ID-N are further copies;
                            those below the number in ID.first are not used again (--no-cache)
      digests/HEX           digests of a context's files by their stat, one file a context
      downloads/HEX.json    facts about a URL that an ADD named; HEX.DIGEST is the content that it sent;
                            HEX.part is the beginning of the blob with this digest (store/partial.py)
      references/HEX        who needs which trees and blobs, one document each (store/references.py)
      records.db            SQLite (WAL): cache records, blobs, resolved names, uses; a link to records-HEX.db
      reserve               a mebibyte that `firkin prune` frees when the disk is full, to have room to work
      tmp/NAME/             scratch of one process, which holds a lock on tmp/NAME.lock

A file or directory gets its final name only when it is complete: it is made in `tmp/` and renamed. All locks are
flock(2): the kernel drops them with the process that held them. So a killed process leaves only scratch space
behind, which the next process removes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from firkin.errors import StoreError
from firkin.hints import Hint
from firkin.linux.ending import at_end
from firkin.linux.folders import remove_tree
from firkin.store.versions import DIRECTORIES, STORE_VERSION
from firkin.text import whole_number

_GET_FLAGS, _SET_FLAGS, _TOP_DIRECTORY = 0x80086601, 0x40086602, 0x20000  # linux/fs.h
RESERVE_BYTES = 1 << 20
_NOBODY = 65534
_LARGEST_VERSION = 1 << 31
_SHOWN = 20  # characters of a version that nobody knows
_TRIAL_S = 60.0
"""A trial takes milliseconds; one as old as this was killed."""


def give_up_reserve(root: str) -> None:
    """Free the space that was set aside."""
    if os.path.exists(f"{root}/reserve"):
        os.unlink(f"{root}/reserve")


def is_full(root: str) -> bool:
    """Say whether the store's file system is full, or nearly so."""
    facts = os.statvfs(root)
    return facts.f_bavail * facts.f_frsize < RESERVE_BYTES or (facts.f_files > 0 and facts.f_favail < 16)


def _token() -> str:
    return os.urandom(6).hex()


def spread(directory: str) -> None:
    """Ask ext4 to place the subdirectories of a directory far apart on the disk, as it does with home directories.

    Otherwise all trees begin in the block group of the store. If many files were just removed there, and there is no
    journal, each new file takes 20 times as long (`recently_deleted` in fs/ext4/ialloc.c). Mirrors: chattr +T.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = int.from_bytes(fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)), sys.byteorder)
        fcntl.ioctl(descriptor, _SET_FLAGS, (flags | _TOP_DIRECTORY).to_bytes(8, sys.byteorder))
    except OSError:
        return  # another file system
    finally:
        os.close(descriptor)


class StoreLayout:
    """An open store directory. Use as a context manager: leaving it removes the scratch space."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.blobs = f"{root}/oci/blobs"
        self.trees = f"{root}/trees"
        self.indexes = f"{root}/indexes"
        self.mounts = f"{root}/mounts"
        self.digests = f"{root}/digests"
        self.downloads = f"{root}/downloads"
        self.references = f"{root}/references"
        self.database = f"{root}/records.db"
        self.images_lock = f"{root}/oci.lock"
        self.scratch = ""
        self._lock = -1
        self._forget: Callable[[], None] = lambda: None

    def __enter__(self) -> StoreLayout:
        try:
            found = self._prepare()
            try:
                self._take_scratch()
            except FileNotFoundError:  # somebody tidied the store by hand, or copied it without empty directories
                self.ensure_directories()
                self._take_scratch()
            self._sweep()
            if not found:
                self._begin()
            elif found != STORE_VERSION:
                self._convert()
        except OSError as error:
            self._give_up()
            if error.errno in (errno.EACCES, errno.EPERM):
                _refuse_foreign(self.root, _owner(self.root))
            raise store_error(f"cannot use the store at {self.root}", error) from error
        self._forget = at_end(self._remove_scratch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_scratch()
        self._forget()
        os.close(self._lock)

    def _remove_scratch(self) -> None:
        remove_tree(self.scratch)
        with suppress(FileNotFoundError):
            os.unlink(self.scratch + ".lock")

    def blob_path(self, digest: str) -> str:
        """Return the path of a blob, whether it is there or not."""
        algorithm, _, value = digest.partition(":")
        return f"{self.blobs}/{algorithm}/{value}"

    def _give_up(self) -> None:
        """Leave the scratch space to the next process, which removes it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _prepare(self) -> int:
        """Return the store's version, 0 if there is no store yet: then make the directories, but not the documents."""
        try:
            return self._version()
        except FileNotFoundError:
            self.ensure_directories()
            return 0

    def ensure_directories(self) -> None:
        """Make the directories that are missing: a copy of a store may lack those that were empty."""
        for name in DIRECTORIES:
            os.makedirs(f"{self.root}/{name}", mode=0o755, exist_ok=True)

    def _version(self) -> int:
        with open(f"{self.root}/version", encoding="ascii", errors="replace") as file:
            _refuse_foreign(self.root, os.fstat(file.fileno()).st_uid)
            found = file.read().strip()
        if found in map(str, (*CONVERSIONS, STORE_VERSION)):
            return int(found)
        newer = (whole_number(found, _LARGEST_VERSION) or 0) > STORE_VERSION
        raise StoreError(
            f"the store at {self.root} has version {found[:_SHOWN]}, this firkin knows {STORE_VERSION}",
            code="store-version",
            hints=(Hint.of("store-newer") if newer else Hint.of("store-other"),),
        )

    def _begin(self) -> None:
        """Write the documents of a new store, the version last."""
        index = f"{self.root}/oci/index.json"
        with locked(self.images_lock):  # another process may have just made them, and named an image
            if not os.path.exists(index):
                write_atomically(index, b'{"schemaVersion":2,"manifests":[]}', self.scratch)
            write_atomically(f"{self.root}/oci/oci-layout", b'{"imageLayoutVersion":"1.0.0"}', self.scratch)
            write_atomically(f"{self.root}/version", f"{STORE_VERSION}\n".encode(), self.scratch)
        self.set_aside()

    def _convert(self) -> None:
        """Convert a store of an earlier version to this one.

        The first part makes only what the earlier version ignores, and repeating it does no harm. Writing the number
        completes the conversion: a killed process leaves a store of either the earlier version or this one. The
        database is migrated when it is opened, in its own transaction (store/database.py).
        """
        with locked(self.images_lock):
            found = self._version()  # another process may have just converted it
            for version in range(found, STORE_VERSION):
                CONVERSIONS[version](self)
            if found != STORE_VERSION:
                write_atomically(f"{self.root}/version", f"{STORE_VERSION}\n".encode(), self.scratch)

    def set_aside(self) -> None:
        """Set space aside for a prune on a full disk, if there is space."""
        try:
            descriptor = os.open(f"{self.root}/reserve", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(descriptor).st_size < RESERVE_BYTES:
                    os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)
        except OSError:
            give_up_reserve(self.root)

    def _take_scratch(self) -> None:
        while True:
            name = f"{self.root}/tmp/{os.getpid()}-{_token()}"
            self._lock = os.open(name + ".lock", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink:
                break
            os.close(self._lock)  # another process removed it before it was locked
        os.mkdir(name, 0o700)
        spread(name)
        self.scratch = name

    def _sweep(self) -> None:
        """Remove scratch space whose process is gone, and leftovers of trials of the host (linux/probe.py)."""
        now = os.fstat(self._lock).st_mtime
        for entry in os.scandir(self.root):
            if entry.name.startswith("trial-"):
                try:
                    if now - entry.stat().st_mtime > _TRIAL_S:
                        remove_tree(entry.path)
                except OSError:
                    continue
        base = f"{self.root}/tmp"
        for name in os.listdir(base):
            if not name.endswith(".lock") or f"{base}/{name}" == f"{self.scratch}.lock":
                continue
            path = f"{base}/{name}"
            try:
                lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path[: -len(".lock")])
                os.unlink(path)
            except OSError:
                continue  # its process is alive, another process removes it, or files in it have ids unknown here
            finally:
                os.close(lock)

    def scratch_path(self, prefix: str) -> str:
        """Return a new path in this process's scratch space, without creating it."""
        return f"{self.scratch}/{prefix}-{_token()}"


def _convert_1(layout: StoreLayout) -> None:
    """Version 2 has references. A firkin of version 1 does not know them and would remove what they name."""
    os.makedirs(layout.references, mode=0o755, exist_ok=True)


def _convert_2(layout: StoreLayout) -> None:
    """Version 3 has more tables and, in its list of images, names with a digest; a firkin of version 2 reads these."""


CONVERSIONS: dict[int, Callable[[StoreLayout], None]] = {1: _convert_1, 2: _convert_2}
"""The conversion of a store's files to the next version, by their present version."""


def check_owner(root: str) -> None:
    """Refuse the store of another user before anything is changed in it; raises StoreError."""
    try:
        owner = os.stat(f"{root}/version").st_uid
    except PermissionError:
        owner = _owner(root)
    except OSError:
        return  # there is no store yet
    _refuse_foreign(root, owner)


def _refuse_foreign(root: str, owner: int) -> None:
    own = os.geteuid()
    if owner in (own, _NOBODY):  # nobody: an id that is not known here, as on NFS that squashes root
        return
    theirs = _user(owner)
    raise StoreError(
        f"the store at {root} belongs to {theirs}, and you are {_user(own)}",
        code="store-owner",
        hints=(
            "a store has one user: whoever may write to it decides what its owner's builds run, so write access to "
            "root's store is root",
            Hint.of("store-own", user=theirs),
        ),
    )


def _owner(path: str) -> int:
    """Return the owner of a path, or of the nearest directory above it that stat can reach."""
    while True:
        try:
            return os.stat(path).st_uid
        except OSError:
            path = os.path.dirname(path)


def _user(uid: int) -> str:
    import pwd

    try:
        return f"`{pwd.getpwuid(uid).pw_name}` (uid {uid})"
    except KeyError:
        return f"uid {uid}"


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Wait for a file lock and hold it. The lock file stays (removing it would race)."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: str, data: bytes, scratch: str, *, sync: bool = True) -> None:
    """Write a small file completely or not at all: temporary file, fsync, rename.

    Without `sync` it may be empty after a power failure.
    """
    temporary = f"{scratch}/.{os.path.basename(path)}-{_token()}"
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(descriptor, 0o644)  # whatever the umask
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def store_error(what: str, error: OSError) -> StoreError:
    """Return a StoreError for an operating-system error, with its cause and hints."""
    hints: tuple[Hint, ...] = ()
    code = "store-io"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        code = "disk-full"
        hints = (Hint.of("store-full"),)
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        code = "store-permission"
        hints = (Hint.of("store-writable"),)
    where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, (str, bytes)) else ""
    return StoreError(f"{what}: {(error.strerror or str(error)).lower()}{where}", code=code, hints=hints)

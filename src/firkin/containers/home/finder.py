"""Finds a container and its monitor, without reading more of it than its name. Does I/O.

The part of `home` that an `exec` needs, so it imports next to nothing: what decodes a whole record takes as long to
load as all the rest. docs/dev/container-state.md is the contract.
"""

from __future__ import annotations

import os

from firkin.containers.monitor.wire import from_json
from firkin.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ID_DIGITS = 64
SHORT_DIGITS = 12
_HEX = frozenset("0123456789abcdef")
_OFD_GETLK = 36  # F_OFD_GETLK, linux/fcntl.h; Python 3.11 has no name for it
_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid
_MOST_BYTES = 16 << 20  # of a document
_NOBODY = 65534  # an owner that is not known in this user namespace
_ANOTHER_PLACE = "have it removed, or set XDG_RUNTIME_DIR to a directory that is yours alone (root has /run/firkin)"


class Finder:
    """The places of the containers of one store, by whole id, name or the beginning of an id. Thread-safe.

    `root` is the store's; `runtime` is the user's directory for runtime files ("" for none; root needs none).
    """

    def __init__(self, root: str, runtime: str = "") -> None:
        self.root = os.path.realpath(root)
        self.containers = f"{self.root}/containers"
        self._runtime = runtime

    # Places

    def directory(self, id: str) -> str:
        """Return the directory of a container, whether it is there or not."""
        return f"{self.containers}/{id}"

    @property
    def user_runtime(self) -> str:
        """The user's directory for runtime files, "" for none."""
        return self._runtime

    @property
    def runtime_base(self) -> str:
        """The directory for what does not outlive a boot; `ensure_runtime` makes it."""
        from binascii import crc32

        if os.geteuid() == 0:
            base = "/run/firkin"
        else:
            base = f"{self._runtime}/firkin" if self._runtime else f"/tmp/firkin-{os.geteuid()}"
        return f"{base}/{crc32(os.fsencode(self.root)):08x}"

    def runtime(self, id: str) -> str:
        """Return the directory of a container's socket, whether it is there or not."""
        return f"{self.runtime_base}/{id[:SHORT_DIGITS]}"

    def ensure_runtime(self, id: str = "") -> str:
        """Make the runtime directory of a container (without one, their base) if it is missing, and return it.

        Raises ContainerError if it, or where it lies, is somebody else's: who may write there could answer for
        containers.
        """
        base = self.runtime_base
        path = self.runtime(id) if id else base
        own = os.path.dirname(base)
        made = False
        try:
            _check_owner(os.path.dirname(own), os.stat(os.path.dirname(own)).st_uid, (0, os.geteuid(), _NOBODY))
            for each in (own, base, path):
                try:
                    os.mkdir(each, 0o700)
                    made = True
                except FileExistsError:
                    pass
                found = os.lstat(each)
                _check_owner(each, found.st_uid, (os.geteuid(),))
                if found.st_mode & 0o170022 != 0o040000:
                    raise distrusted(each, "is a link" if os.path.islink(each) else "can be written to by others")
        except OSError as error:
            raise failed(f"cannot make {path}", error, _ANOTHER_PLACE) from error
        if made and not os.path.lexists(f"{base}/store"):
            from firkin.containers.home.tidying import tidy

            tidy(base, self.root, self._runtime)
        return path

    # Finding

    def identify(self, text: str) -> str:
        """Return the id of the container that `Home.find` finds. Raises ContainerError as that does."""
        for candidate in self._candidates(text):
            if self._name_of(candidate):
                return candidate
        raise self.not_found(text)

    def not_found(self, text: str) -> ContainerError:
        """Return the error for a text that no record belongs to: it means nothing, or a damaged container."""
        id = self.unreadable(text)
        if not id:
            return missing(text)
        from firkin.hints import Hint

        return ContainerError(
            f"container {id} is damaged: its record cannot be read",
            kind="failed", code="container-damaged", hints=(Hint.of("container-damaged", id=id[:SHORT_DIGITS]),),
        )  # fmt: skip

    def unreadable(self, text: str) -> str:
        """Return the id of the container whose record is damaged, if id, name or the beginning of the id mean one."""
        found = [id for id in self.ids() if id.startswith(text)] if text and _HEX.issuperset(text) else []
        found.append(self._linked(text.removeprefix("/")))
        found = [id for id in dict.fromkeys(found) if is_id(id) and os.path.isdir(self.directory(id))]
        return found[0] if len(found) == 1 and not self._is_readable(found[0]) else ""

    def _is_readable(self, id: str) -> bool:
        return bool(self._name_of(id))

    def _candidates(self, text: str) -> Iterator[str]:
        if not text:
            raise ContainerError("invalid container name or ID: value is empty", kind="invalid", code="container-name")
        if is_id(text):
            yield text
        id = self.named(text.removeprefix("/"))
        if id:
            yield id
        if _HEX.issuperset(text) and len(text) < ID_DIGITS:
            found = [id for id in self.ids() if id.startswith(text)]
            if len(found) > 1:
                raise ContainerError(
                    f"multiple IDs found with provided prefix: {text}", kind="invalid", code="container-ambiguous"
                )
            yield from found

    def named(self, name: str) -> str:
        """Return the id of the container that has a name, "" if there is none."""
        id = self._linked(name)
        return id if is_id(id) and self._name_of(id) == name else ""  # else what a death left of a rename

    def _linked(self, name: str) -> str:
        """Return the text of a name's link, "" if there is none."""
        if not name or "/" in name:
            return ""
        try:
            return os.readlink(f"{self.containers}/names/{name}")
        except OSError:
            return ""

    def ids(self) -> list[str]:
        """Return the ids of all containers, sorted."""
        return sorted(filter(is_id, self._names()))

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.containers)
        except FileNotFoundError:
            return []

    def _name_of(self, id: str) -> str:
        """Return the name that a container's record has, "" if it has no record that can be read."""
        try:
            data = self._read(f"{self.directory(id)}/config.json")
            return str(from_json(data)["name"]) if data is not None else ""
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    def has_monitor(self, id: str) -> bool:
        """Say whether the monitor of a container lives: it locks a file as long as it does."""
        try:
            descriptor = os.open(f"{self.directory(id)}/monitor.lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            import fcntl
            from struct import pack, unpack

            asked = pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            return bool(unpack(_FLOCK, fcntl.fcntl(descriptor, _OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
        finally:
            os.close(descriptor)

    def _read(self, path: str) -> bytes | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.read(descriptor, min(os.fstat(descriptor).st_size, _MOST_BYTES))
        finally:
            os.close(descriptor)


def is_id(text: str) -> bool:
    """Say whether a text is a whole id."""
    return len(text) == ID_DIGITS and _HEX.issuperset(text)


def missing(text: str) -> ContainerError:
    """Return the error for a container that is not there."""
    return ContainerError(f"No such container: {text}", kind="missing", code="no-container")


def not_running(id: str) -> ContainerError:
    """Return the error for a container that has to run."""
    return ContainerError(f"container {id} is not running", kind="conflict", code="container-state")


def distrusted(path: str, why: str) -> ContainerError:
    """Return the error for a file or directory with which others could answer for containers."""
    return ContainerError(
        f"{path} {why}: it is not used for the sockets of containers", kind="failed", code="runtime-owner",
        hints=(_ANOTHER_PLACE,),
    )  # fmt: skip


def _check_owner(path: str, owner: int, trusted: tuple[int, ...]) -> None:
    if owner not in trusted:
        raise distrusted(path, f"belongs to another user (uid {owner})")


def failed(what: str, error: OSError, hint: str = "") -> ContainerError:
    """Return the error for a file of a container that cannot be read or written, with a way out."""
    import errno

    from firkin.hints import Hint

    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ContainerError(
        f"{what}: {(error.strerror or str(error)).lower()}", kind="failed", code="container-io",
        hints=(Hint.of("store-full"),) if full else (hint,) if hint else (),
    )  # fmt: skip

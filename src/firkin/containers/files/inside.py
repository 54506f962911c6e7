"""Work among a container's files, in a fork whose `/` is the container's root. Does I/O.

    caller ── fork ──▶ child: enters, gives up its rights, runs the job ── stream, then answer ──▶ caller

What a container holds is hostile: it may swap a directory for a link between a look and a use, or offer its own
libraries. So the caller never touches a path of it. In the child the kernel resolves every path beneath the
container's root (CVE-2018-15664), and nothing can be loaded any more: every module is there before it enters, and its
ways to find others are taken away (CVE-2019-14271). It is not dumpable, holds no descriptor but its pipes, and has only
the capabilities that making files needs.

Where it stands depends on the container (`Place.view`):

    live    a running one: its (user and) mount namespaces, by a pidfd of its first process
    rest    one that does not run: the overlay of its layers with its volumes and binds, mounted for the child alone
    layers  the overlay alone, read-only, whether it runs or not: what an export contains
    files   this machine's root, in the namespaces that own the files: to read the upper directory itself

An overlay's upper directory is mounted for writing once only, so a `rest` that is to be written to needs the
container's lock (docs/dev/container-state.md). A read-only one has the upper directory among its lower ones.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from firkin.containers.documents.record import MountPoint
from firkin.decode import decode_msgpack
from firkin.errors import ContainerError, FirkinError
from firkin.hints import AnyHint
from firkin.linux import syscalls
from firkin.linux.enter import NamespacePlan, fork_into_namespaces
from firkin.linux.folders import remove_tree

if TYPE_CHECKING:
    from firkin.errors import ContainerFault
    from firkin.sandbox.mounting import Mounter
else:
    ContainerFault = str  # what the decoder takes it for

View = Literal["live", "rest", "layers", "files"]

_PIECE = 256 << 10
_MAX_HEAD = 16 << 20
_HEAD = 4  # bytes of the length before the head
_MAX_FD = 1 << 16
_RDONLY = 0x1  # MOUNT_ATTR_RDONLY
# CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP: to read all files and to make any.
_NEEDED = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What jobs use, or an error may need. Nothing can be loaded later.
_MODULES = (
    "ctypes", "stat", "fcntl", "zlib", "encodings.ascii", "encodings.latin_1",
    "firkin.layer.attributes", "firkin.layer.change", "firkin.layer.entry", "firkin.layer.scan", "firkin.layer.tar",
    "firkin.linux.beneath", "firkin.linux.files", "firkin.linux.sparse", "firkin.text",
)  # fmt: skip


class Place(NamedTuple):
    """Where a job stands.

    `directory` is the container's, `trees` are the diff directories of its layers, top down. `process` is for `live`:
    pid, its start time in clock ticks, and the boot id of both. `writes`: the job changes files; at `rest` the caller
    holds the container's lock. `readonly`: the root is marked so. `single_id`: files cannot have other owners.
    """

    view: View
    directory: str
    trees: tuple[str, ...]
    enter: NamespacePlan
    mounts: tuple[MountPoint, ...] = ()
    process: tuple[int, int, str] = (0, 0, "")
    writes: bool = False
    readonly: bool = False
    single_id: bool = False


class _Ended(msgspec.Struct, frozen=True):
    """How a job ended: its result, or with `failed` the error."""

    result: bytes = b""
    failed: bool = False
    message: bytes = b""
    kind: ContainerFault = "failed"
    code: str = ""
    hints: tuple[AnyHint, ...] = ()


class Vanished(Exception):
    """The first process of the container ended before it could be joined."""


class Inner:
    """The child's side: what a job reads and writes."""

    def __init__(self, source: int, stream: int) -> None:
        self._source = source
        self._stream = stream

    def chunks(self) -> Iterator[bytes]:
        """Yield what the caller feeds."""
        while piece := os.read(self._source, _PIECE):
            yield piece

    def head(self, data: bytes) -> None:
        """Send what comes before the stream."""
        self.write(len(data).to_bytes(_HEAD, "big") + data)

    def send(self, pieces: Iterable[bytes]) -> None:
        """Send parts of the stream."""
        for piece in pieces:
            self.write(piece)

    def write(self, data: bytes) -> None:
        """Send a part of the stream."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._stream, left) :]


Job = Callable[[Inner], bytes]
"""Runs in the child: takes its pipes and returns the result. It may raise OSError, ValueError and FirkinError."""


class Session:
    """The caller's side. `read` or `feed`, then `result`."""

    def __init__(self, pid: int, source: int, stream: int, answer: int) -> None:
        self._pid = pid
        self._source = source
        self._stream = stream
        self._answer = answer
        self._said: bytes | None = None

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Send the job its input; stops early when the job does."""
        for chunk in chunks:
            left = memoryview(chunk)
            try:
                while left:
                    left = left[os.write(self._source, left) :]
            except BrokenPipeError:
                break
        self._end_source()

    def head(self) -> bytes:
        """Return what comes before the stream; raises the job's error if it sends nothing."""
        size = int.from_bytes(self._exactly(_HEAD), "big")
        if size > _MAX_HEAD:
            raise _broken()
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = os.read(self._stream, size - len(data))
            if not piece:
                self.result()
                raise _broken()
            data += piece
        return data

    def read(self) -> Iterator[bytes]:
        """Yield the stream. At its end the job's error is raised, if there is one."""
        while piece := os.read(self._stream, _PIECE):
            yield piece
        self.result()

    def result(self) -> bytes:
        """Wait for the job; return what it returned, or raise its error as a ContainerError."""
        self._end_source()
        if self._said is None:
            with open(self._answer, "rb", closefd=False) as file:
                self._said = file.read()
        if not self._said:
            raise _broken()
        ended = decode_msgpack(self._said, _Ended)
        if ended.failed:
            raise ContainerError(
                ended.message.decode(errors="surrogateescape"), kind=ended.kind, code=ended.code, hints=ended.hints
            )
        return ended.result

    def _end_source(self) -> None:
        if self._source >= 0:
            os.close(self._source)
            self._source = -1

    def close(self) -> None:
        """End the child, whatever it does."""
        self._end_source()
        os.close(self._stream)
        os.close(self._answer)
        try:
            os.kill(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self._pid, 0)


@contextmanager
def inside(place: Place, job: Job, modules: tuple[str, ...] = ()) -> Iterator[Session]:
    """Run a job among the files of a container; `modules` are those that it needs beside the usual ones.

    Raises HostError or ContainerError when it cannot stand there, Vanished when a running container has just ended.
    """
    for name in (*_MODULES, *modules):
        import_module(name)
    source_read, source_write = os.pipe()
    stream_read, stream_write = os.pipe()
    answer_read, answer_write = os.pipe()
    theirs, ours = (source_read, stream_write, answer_write), (source_write, stream_read, answer_read)
    parent = os.getpid()

    def child() -> int:
        _prepare(theirs)
        if place.writes:
            # The caller's death frees the container's lock, and with it the right to have its files mounted.
            syscalls.set_parent_death_signal(signal.SIGKILL)
            if os.getppid() != parent:
                return 1
        _send(answer_write, _ended(place, job, Inner(source_read, stream_write), theirs))
        return 0

    try:
        pid = _fork(place, child)
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    session = Session(pid, *ours)
    try:
        yield session
    finally:
        session.close()


def _fork(place: Place, child: Callable[[], int]) -> int:
    if place.view != "live":
        mounts = place.view != "files"
        plan = place.enter if mounts or place.enter.maps is not None else NamespacePlan(mount=False)
        return fork_into_namespaces(plan, child)
    joined = _pidfd_of(*place.process)
    try:
        flags = syscalls.CLONE_NEWNS
        if os.stat(f"/proc/{place.process[0]}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
            flags |= syscalls.CLONE_NEWUSER
        # The process of that number is still the one behind the descriptor, so what was read of it is its own.
        signal.pidfd_send_signal(joined, 0)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                syscalls.set_dumpable(False)
                os.set_inheritable(joined, False)
                syscalls.setns(joined, flags)
                if flags & syscalls.CLONE_NEWUSER:
                    os.setresgid(0, 0, 0)
                    os.setresuid(0, 0, 0)
                code = child()
            except BaseException:  # noqa: BLE001  no exception may reach the caller's frames in the fork
                pass  # the answer is missing, which says enough
            finally:
                os._exit(code)
        return pid
    except (ProcessLookupError, FileNotFoundError):
        raise Vanished from None
    finally:
        os.close(joined)


def _pidfd_of(pid: int, ticks: int, boot: str) -> int:
    """Return a descriptor of a container's first process, which has not become another one. Raises Vanished."""
    from firkin.store.boot import read_boot_id

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Vanished from None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            found = int(file.read().rpartition(b")")[2].split()[19])
        if found == ticks and boot == read_boot_id():
            return fd
    except (FileNotFoundError, ProcessLookupError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    raise Vanished


# In the child


def _prepare(kept: tuple[int, ...]) -> None:
    """Become a process that knows nothing of its caller's business."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(-1)
    syscalls.set_dumpable(False)
    _close_all_but(kept)


def _close_all_but(kept: tuple[int, ...]) -> None:
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, _MAX_FD)


def _ended(place: Place, job: Job, inner: Inner, kept: tuple[int, ...]) -> bytes:
    try:
        if place.view in ("rest", "layers"):
            _stand(place)
            _close_all_but(kept)
        _confine(place)
        ended = _Ended(job(inner))
    except ContainerError as error:
        ended = _Ended(
            failed=True, message=_bytes(error.message), kind=error.kind, code=error.code, hints=error.hints
        )
    except FirkinError as error:
        ended = _Ended(failed=True, message=_bytes(error.message), code=error.code, hints=error.hints)
    except OSError as error:
        ended = _Ended(failed=True, message=_bytes(os_message(error)), code="container-files")
    except ValueError as error:
        hint = getattr(error, "hint", None)
        ended = _Ended(
            failed=True, message=_bytes(str(error)), kind="invalid", code="archive", hints=(hint,) if hint else ()
        )
    except BaseException as error:  # noqa: BLE001  the process's top: any error becomes its answer
        ended = _Ended(failed=True, message=_bytes(f"internal error: {type(error).__name__}: {error}"), code="bug")
    return msgspec.msgpack.encode(ended)


def _confine(place: Place) -> None:
    if place.view != "files":
        # Whatever is looked up from now on is the container's.
        sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__module__", "") in _INBORN]
        sys.path.clear()
        sys.path_hooks.clear()
        os.chdir("/")
    os.umask(0)
    syscalls.keep_capabilities(_NEEDED)
    syscalls.set_no_new_privs()


_INBORN = ("_frozen_importlib",)  # the finders of built-in and frozen modules, which no file can replace


def _stand(place: Place) -> None:
    """Mount the root of a container that does not run, or the layers of any, and make it this process's `/`."""
    from firkin.sandbox import operations as op
    from firkin.sandbox.mounting import Mounter

    mounter = Mounter()
    base = os.open(place.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # Places for mounts lie in memory, on top of the container's own directory, which `own` still leads to.
    own = f"/proc/self/fd/{base}"
    root, stubs = f"{place.directory}/root", f"{place.directory}/stubs"
    writes = place.writes and place.view == "rest"
    if writes:
        remove_tree(f"{own}/work/work/incompat")  # the mark of an overlay without syncs, which nobody may mount again
    mounter.perform(op.Private())
    mounter.mount_memory(place.directory)
    for path in (root, stubs):
        os.mkdir(path, 0o755)
    taken = _take(mounter, place, own, stubs) if place.view == "rest" else []
    if writes:
        attributes = _RDONLY if place.readonly else 0
        mounter.perform(op.OverlayRoot((*place.trees, stubs), f"{own}/upper", f"{own}/work", root, attributes, False))
    else:
        mounter.perform(op.OverlayRoot((f"{own}/upper", *place.trees, stubs), "", "", root, 0, False))
    for name, target in taken:
        with suppress(*(() if writes else (FirkinError,))):  # nothing can be made where the image has a link to nowhere
            mounter.perform(op.Attach(name, target, False))
    mounter.perform(op.Pivot(), op.Leave())


def _take(mounter: Mounter, place: Place, own: str, stubs: str) -> list[tuple[str, str]]:
    """Take the binds and volumes of a container, with points for them below its layers; return names and targets."""
    from firkin.sandbox import operations as op

    taken = []
    files = [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")]
    for name, target in files:
        if os.path.isfile(f"{own}/{name}"):
            mounter.perform(op.Bind(name, f"{own}/{name}", False, 0), op.Stub(stubs + target, True, name, 0o755))
            taken.append((name, target))
    for number, mount in enumerate(sorted(place.mounts, key=lambda mount: mount.destination.count("/"))):
        if mount.type not in ("bind", "volume") or not os.path.exists(mount.source):
            continue
        name, source = f"mount-{number}", os.path.realpath(mount.source)
        if mount.subpath:
            mounter.perform(op.BindBeneath(name, source, mount.subpath, not mount.rw, 0))
        else:
            mounter.perform(op.Bind(name, source, not mount.rw, 0))
        mounter.perform(op.Stub(stubs + mount.destination, True, name, 0o755))
        taken.append((name, mount.destination))
    return taken


def _send(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def os_message(error: OSError) -> str:
    """Return what the kernel refused, and where."""
    reason = (error.strerror or str(error)).lower()
    name = error.filename
    return f"{os.fsdecode(name)}: {reason}" if isinstance(name, (str, bytes)) else reason


def _broken() -> ContainerError:
    return ContainerError("work on a container's files was ended", kind="failed", code="container-files")

"""Unpacks layers in processes that have dropped all rights but those they need. Does I/O.

    worker ── fork, before its first thread ──▶ server ── fork, one a layer ──▶ inflates, digests, unpacks

The server lives in mount, network, IPC and UTS namespaces of its own and has no descriptor but its socket. The
process of a layer has its tree as its root (chroot), has only the capabilities to make files there, and cannot
gain others. It reads the blob from a pipe, which the worker fills with bytes that it has verified and kept on the
way; the result goes back through a second pipe. If a right for one of these measures is missing, the others are
still taken. `content`, `builder.solve` and `worker` use it.
Messages, over a socket: a Job with the descriptors of tree, blob, answer and, if requested, index ─▶. The answer is
a Done or a Failed. Mirrors: moby chrootarchive; containers/storage.
"""

from __future__ import annotations

import array
import fcntl
import gc
import os
import signal
from collections.abc import Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import msgspec

from firkin.decode import decode_msgpack, msgpack_decoder
from firkin.errors import FirkinError, HostError, InternalError
from firkin.hints import AnyHint, Hint
from firkin.layer.change import Entry
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.linux import syscalls
from firkin.linux.server import fork_server
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID

if TYPE_CHECKING:
    from _socket import socket as Socket

    from firkin.layer.blob import BlobSink
    from firkin.layer.unpack import Unpacked

_PIPE_BYTES = 1 << 20
_PIECE = 256 << 10
_MAX_MESSAGE = 1 << 16
_MAX_FDS = 4
_F_SETPIPE_SZ = 1031
_APART = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
# CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP: to make files of any owner and kind.
_NEEDED = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31

# Loaded by the server before the first layer; a build that unpacks nothing needs none of them.
_NEEDED_IN_CHROOT = (
    "firkin.layer.blob", "firkin.layer.index", "firkin.layer.tar", "firkin.layer.unpack", "hashlib", "traceback",
)  # fmt: skip


class Job(msgspec.Struct, frozen=True):
    """One layer to unpack."""

    descriptor: Descriptor
    diff_id: str | None
    chown: bool
    limits: UnpackLimits


class Done(msgspec.Struct, frozen=True, tag=True):
    """The result of a Job. Names are bytes, since they need not be text."""

    diff_id: str
    entries: int
    implied: tuple[bytes, ...]
    named_root: bool
    size_bytes: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """What the unpacking process raised: `kind` is value, limit, host, os or bug."""

    kind: str
    text: bytes
    code: str = ""
    hints: tuple[bytes | Hint, ...] = ()
    errno: int = 0


_answers = msgpack_decoder(Done | Failed)


class Confined:
    """The worker's side of the server. Thread-safe."""

    def __init__(self, pid: int, channel: Socket) -> None:
        self.pid = pid
        self._channel = channel

    def unpack(
        self,
        chunks: Iterable[bytes],
        descriptor: Descriptor,
        diff_id: str | None,
        root: str,
        sink: BlobSink | None,
        *,
        chown: bool,
        index: str,
        limits: UnpackLimits,
    ) -> tuple[Unpacked, DiffID]:
        """Do what `blob.unpack_blob` does; `index` is where to write the layer's index, or "".

        When it returns or raises, nobody writes to `root` any more.
        """
        from firkin.layer.blob import verified_blob

        blob_read, blob_write = os.pipe()
        answer_read, answer_write = os.pipe()
        theirs = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), blob_read, answer_write]
        try:
            if index:
                theirs.append(os.open(index, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            job = msgspec.msgpack.encode(Job(descriptor, diff_id, chown, limits))
            try:
                _send(self._channel, job, theirs)
            except OSError as error:
                os.close(blob_write)
                os.close(answer_read)
                raise _gone() from error
        finally:
            for fd in theirs:
                os.close(fd)
        try:
            _fill(blob_write, verified_blob(chunks, descriptor, sink))
        finally:
            with open(answer_read, "rb") as file:
                answer = file.read()
        return _understand(answer)

    def close(self) -> None:
        """End the server."""
        self._channel.close()
        os.waitpid(self.pid, 0)


def _fill(pipe: int, pieces: Iterator[bytes]) -> None:
    """Write the blob into the pipe and close it; a reader that stops early says why in its answer."""
    reads = True
    try:
        _widen(pipe)
        for piece in pieces:
            if reads:
                try:
                    _write_all(pipe, piece)
                except BrokenPipeError:
                    reads = False
    finally:
        os.close(pipe)


def _understand(answer: bytes) -> tuple[Unpacked, DiffID]:
    from firkin.layer.tar import LimitReached
    from firkin.layer.unpack import Unpacked

    try:
        said = _answers.decode(answer)
    except msgspec.MsgspecError:
        raise _gone() from None
    if isinstance(said, Done):
        root = Entry("dir") if said.named_root else None
        unpacked = Unpacked(said.entries, tuple(map(os.fsdecode, said.implied)), (), root, said.size_bytes)
        return unpacked, DiffID(said.diff_id)
    text = os.fsdecode(said.text)
    hints = tuple(map(_decoded, said.hints))
    if said.kind == "limit":
        raise LimitReached(text, *hints)
    if said.kind == "value":
        raise ValueError(text)
    if said.kind == "host":
        raise HostError(text, code=said.code, hints=hints)
    if said.kind == "os":
        raise OSError(said.errno, os.strerror(said.errno), text or None)
    raise InternalError("internal error: unpacking a layer failed", traceback=text)


def _decoded(hint: bytes | Hint) -> AnyHint:
    return hint if isinstance(hint, Hint) else os.fsdecode(hint)


def _gone() -> HostError:
    return HostError(
        "the process that unpacks layers has ended",
        code="unpacker",
        hints=("it may have been killed for want of memory",),
    )


def _widen(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # the user's limit of pipe pages is reached


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _send(channel: Socket, message: bytes, fds: list[int]) -> None:
    from _socket import SCM_RIGHTS, SOL_SOCKET

    channel.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))])


def _receive(channel: Socket) -> tuple[bytes, list[int]]:
    from _socket import CMSG_SPACE

    fds = array.array("i")
    message, parts, _, _ = channel.recvmsg(_MAX_MESSAGE, CMSG_SPACE(_MAX_FDS * fds.itemsize))
    for _, _, data in parts:
        fds.frombytes(data)
    return message, fds.tolist()


_current: Confined | None = None


def start_confined(*, at_once: bool = False) -> Confined:
    """Fork the server; this process must have one thread. `unpack_confined` uses it from now on.

    It loads its libraries with the first layer, or `at_once` if steps may replace them.
    """
    global _current
    # Other signals are for the worker to handle: when it ends, so does this.
    pid, own = fork_server(partial(_serve, at_once), on_stop=signal.SIG_IGN, with_parent=signal.SIGKILL)
    _current = Confined(pid, own)
    return _current


def unpack_confined(
    chunks: Iterable[bytes],
    descriptor: Descriptor,
    diff_id: str | None,
    root: str,
    sink: BlobSink | None = None,
    *,
    chown: bool = True,
    index: str = "",
    limits: UnpackLimits = UNPACK_LIMITS,
) -> tuple[Unpacked, DiffID]:
    """Unpack a layer blob as `blob.unpack_blob` does, in a process of its own if the server was started.

    `index` is where to write the layer's index, or "". Raises what `unpack_blob` raises.
    """
    if _current is not None:
        return _current.unpack(chunks, descriptor, diff_id, root, sink, chown=chown, index=index, limits=limits)
    from firkin.layer.blob import unpack_blob
    from firkin.layer.index import IndexWriter

    writer = IndexWriter() if index else None
    observe = None if writer is None else writer.add
    done = unpack_blob(chunks, descriptor, diff_id, root, sink, chown=chown, observe=observe, limits=limits)
    if writer is not None:
        with open(index, "xb") as file:
            writer.write(file)
    return done


# --- the server ---


def _serve(at_once: bool, channel: Socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)
    ready = False
    if at_once:
        ready = _make_ready()
    while True:
        message, fds = _receive(channel)
        if not message:
            os._exit(0)
        ready = ready or _make_ready()
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _answer(fds[2], error)
        else:
            if pid == 0:
                try:
                    channel.close()
                    syscalls.set_parent_death_signal(signal.SIGKILL)
                    if os.getppid() == server:
                        _unpack(message, fds)
                finally:
                    os._exit(0)
        for fd in fds:
            os.close(fd)


def _make_ready() -> bool:
    from firkin.layer.compress import import_inflaters

    _move_apart()
    import_inflaters()  # nothing can be loaded in a chroot
    for name in _NEEDED_IN_CHROOT:
        import_module(name)
    gc.freeze()  # what is here stays shared with the processes of all layers
    return True


def _move_apart() -> None:
    """Enter new namespaces of mounts, networks, IPC and UTS, each if that is allowed."""
    try:
        syscalls.unshare(_APART)
        return
    except OSError:
        pass
    for bit in range(_APART.bit_length()):
        if _APART >> bit & 1:
            try:
                syscalls.unshare(1 << bit)
            except OSError:
                continue


def _unpack(message: bytes, fds: list[int]) -> None:
    from firkin.layer.blob import read_tar
    from firkin.layer.index import IndexWriter
    from firkin.layer.unpack import unpack_layer

    root, blob, answer, *index = fds
    try:
        job = decode_msgpack(message, Job)
        _confine(root)
        writer = IndexWriter() if index else None

        def unpack(tar: Iterable[bytes]) -> Unpacked:
            observe = None if writer is None else writer.add
            return unpack_layer(tar, ".", chown=job.chown, strict=True, observe=observe, limits=job.limits)

        unpacked, diff_id = read_tar(_pieces(blob), job.descriptor, job.diff_id, unpack)
        if writer is not None:
            with open(index[0], "wb") as file:
                writer.write(file)
        implied = tuple(map(os.fsencode, unpacked.implied))
        done = Done(diff_id, unpacked.entries, implied, unpacked.root is not None, unpacked.size_bytes)
        _write_all(answer, msgspec.msgpack.encode(done))
    except BaseException as error:  # noqa: BLE001  the process's top: any error becomes its answer
        _answer(answer, error)


def _confine(root: int) -> None:
    """Make the tree the root, with nothing else in reach; drop the rights that making files does not need."""
    os.fchdir(root)
    os.close(root)
    try:
        os.chroot(".")
    except PermissionError:
        pass  # an ordinary user without a namespace: descriptors keep within the tree
    syscalls.keep_capabilities(_NEEDED)
    syscalls.set_no_new_privs()


def _pieces(blob: int) -> Iterator[bytes]:
    while piece := os.read(blob, _PIECE):
        yield piece


def _encoded(hint: AnyHint) -> bytes | Hint:
    return hint if isinstance(hint, Hint) else os.fsencode(hint)


def _answer(fd: int, error: BaseException) -> None:
    from firkin.layer.tar import LimitReached

    failed: Failed
    text = os.fsencode(str(error))
    if isinstance(error, LimitReached):
        failed = Failed("limit", text, hints=(_encoded(error.hint),))
    elif isinstance(error, ValueError):
        failed = Failed("value", text)
    elif isinstance(error, FirkinError):
        failed = Failed("host", os.fsencode(error.message), error.code, tuple(map(_encoded, error.hints)))
    elif isinstance(error, OSError):
        name = error.filename if isinstance(error.filename, (str, bytes)) else ""
        failed = Failed("os", os.fsencode(name), errno=error.errno or 0)
    else:
        import traceback

        failed = Failed("bug", os.fsencode("".join(traceback.format_exception(error))))
    _write_all(fd, msgspec.msgpack.encode(failed))

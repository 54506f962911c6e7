"""The source of an image's bytes for exporters, the files that they write, and tars. Does I/O."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from firkin.errors import Cancelled, FirkinError, StoreError, UsageError
from firkin.hints import Hint
from firkin.layer.change import Entry
from firkin.layer.entry import encode_member, padding
from firkin.linux.ending import at_end
from firkin.linux.files import open_special
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest

_CHUNK = 1 << 20
_KERNEL_CHUNK = 64 << 20
_SIGPIPE = 13
_PLACE_HINTS = ("does its directory exist, and may you write there?",)
_NOT_BY_KERNEL = (errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.EOVERFLOW)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # EFBIG: larger than `ulimit -f` allows


class BlobSource(Protocol):
    """Read access to the blobs of an image."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob from its start."""


class ArchiveWriter:
    """A tar, written in order and deterministic: fixed owner, mode and time."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def directory(self, path: str) -> None:
        """Add a directory."""
        self._stream.write(encode_member(path, Entry("dir", 0o755)))

    def file(self, path: str, data: bytes) -> None:
        """Add a small file."""
        entry = Entry("file", 0o644, size=len(data))
        self._stream.write(encode_member(path, entry))
        self._stream.write(data + bytes(padding(len(data))))

    def blob(self, path: str, source: BlobSource, descriptor: Descriptor) -> None:
        """Add a blob's bytes."""
        entry = Entry("file", 0o644, size=descriptor.size)
        self._stream.write(encode_member(path, entry))
        copy_blob(source, descriptor, self._stream)
        self._stream.write(bytes(padding(descriptor.size)))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._stream.write(encode_member(path, Entry("symlink", 0o777, target=target)))

    def end(self) -> None:
        """Write the end of the archive."""
        self._stream.write(bytes(1024))
        self._stream.flush()


def copy_blob(source: BlobSource, descriptor: Descriptor, target: BinaryIO) -> None:
    """Copy a blob's bytes; raises StoreError when their number differs from the size in the descriptor."""
    with source.open(descriptor.digest) as file:
        copied = _copied_by_kernel(file, target, descriptor.size)
        while chunk := file.read(_CHUNK):
            copied += len(chunk)
            if copied > descriptor.size:
                break
            target.write(chunk)
    if copied != descriptor.size:
        raise StoreError(
            f"blob {descriptor.digest} in the store is damaged: it has not {descriptor.size} bytes",
            code="blob-damaged",
            hints=(Hint.of("no-cache-or-remove"),),
        )


def _copied_by_kernel(file: BinaryIO, target: BinaryIO, size: int) -> int:
    """Copy up to `size` bytes without reading them into this process, where the kernel can; return how many."""
    copied = 0
    if not isinstance(file, io.IOBase):
        return 0  # it verifies what is read from it
    try:
        source_fd, target_fd = file.fileno(), target.fileno()
        target.flush()
        regular = stat.S_ISREG(os.fstat(target_fd).st_mode)
        while copied < size:
            count = min(_KERNEL_CHUNK, size - copied)
            if regular:
                done = os.copy_file_range(source_fd, target_fd, count)
            else:
                done = os.sendfile(target_fd, source_fd, None, count)
            if not done:
                break
            copied += done
    except io.UnsupportedOperation:
        return 0  # a stream of this process
    except OSError as error:
        # Both descriptors stand behind what was copied, so that reading and writing can go on from here.
        if error.errno not in _NOT_BY_KERNEL:
            raise
    return copied


def standard_output(dest: str) -> BinaryIO | None:
    """Return the stream that an output to `-` is written to."""
    return open(1, "wb", closefd=False) if dest == "-" else None


@contextmanager
def output_file(dest: str, stdout: BinaryIO | None, *, private: bool = False) -> Iterator[BinaryIO]:
    """Yield the stream of an output: `stdout` for `-`, otherwise a file that appears when it is complete.

    `private`: nobody else may read the file, whatever the umask. Raises UsageError when the place cannot be written to.
    """
    if dest == "-":
        with _writing_to(stdout) as stream:
            yield stream
        return
    special = os.path.lexists(dest) and not os.path.isfile(dest) and not os.path.isdir(dest)
    with _special(dest) if special else _appearing(dest, private) as stream:
        yield stream


@contextmanager
def _writing_to(stdout: BinaryIO | None) -> Iterator[BinaryIO]:
    if stdout is None:
        raise UsageError("there is no standard output to write to", code="output")
    try:
        yield stdout
    except BrokenPipeError as error:
        raise Cancelled("nobody reads from standard output any more", exit_code=128 + _SIGPIPE) from error
    except OSError as error:
        raise _named(error, "standard output") from error


@contextmanager
def _special(dest: str) -> Iterator[BinaryIO]:
    """Yield a device or a pipe; what was written to it cannot be taken back."""
    try:
        file = open(open_special(dest), "wb")
    except OSError as error:
        raise output_error(dest, error, *_PLACE_HINTS) from error
    try:
        with file:
            yield file
    except OSError as error:
        raise _named(error, dest) from error


@contextmanager
def _appearing(dest: str, private: bool) -> Iterator[BinaryIO]:
    """Yield a file beside `dest` that replaces it in the end, or is removed when something goes wrong."""
    # A random name, not the process id: two containers that share a directory may both have a process 7.
    temporary = f"{os.path.dirname(dest) or '.'}/.{os.path.basename(dest)}.{os.urandom(6).hex()}"
    try:
        mode = 0o600 if private else 0o666
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise output_error(dest, error, *_PLACE_HINTS) from error
    file = open(fd, "wb")
    forget = at_end(lambda: os.unlink(temporary))
    try:
        with file:
            yield file
        os.rename(temporary, dest)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _named(error, dest) from error
        raise
    finally:
        forget()


def prepare_place(dest: str, *, directory: bool) -> None:
    """Make the directory that an output is (or lies in), and check that files can be made there, before the build.

    Raises UsageError.
    """
    try:
        if not directory and os.path.isdir(dest):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not directory and os.path.lexists(dest) and not os.path.isfile(dest):
            return  # a device or a pipe; a dangling link is reported when it is written
        parent = dest if directory else os.path.dirname(dest) or "."
        os.makedirs(parent, exist_ok=True)
        probe = f"{parent}/.firkin-{os.urandom(6).hex()}"
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(probe)
    except OSError as error:
        raise output_error(dest, error, "name another place, or make it one that you may write to") from error


def output_error(dest: str, error: OSError, *hints: str) -> FirkinError:
    """Return the error for an output that cannot be written."""
    message = f"cannot write {dest}: {(error.strerror or '').lower()}"
    if error.errno in _FULL:
        hint = "make room there, or name another place"
        return StoreError(message, code="disk-full", hints=(hint,))
    return UsageError(message, code="output", hints=hints)


def _named(error: OSError, dest: str) -> BaseException:
    # Other errors may come from reading the blob.
    return output_error(dest, error) if error.errno in _FULL else error

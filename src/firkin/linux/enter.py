"""Moves the worker into its namespaces. Does I/O. Any module above `linux` may import it.

A process outside of a user namespace has to write its id maps, so two processes take part, over
two pipes (see docs/dev/sandbox.md):

    worker: enter(plan, channel)          outsider: admit(pid, plan, channel)
      unshare
      write b"u" to `ready`       ─────▶    read `ready`
                                            write the id maps of `pid`
      read `go`                   ◀─────    write b"g" to `go`
      become uid 0, mounts private

The worker is a fork of the outsider (`worker.start`, or `fork_into_namespaces`). It must not have a second thread yet:
unshare gives EINVAL.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import msgspec

from firkin.decode import decode_json
from firkin.errors import HostError
from firkin.hints import AnyHint, Hint
from firkin.linux import mounts, syscalls
from firkin.linux.idmap import IdMaps, write_id_maps

if TYPE_CHECKING:
    from collections.abc import Callable


ROOT_MOUNT_HINT = Hint.of("root-mount")


class NamespacePlan(msgspec.Struct, frozen=True):
    """The namespaces that the worker unshares: with `mount` a mount namespace, with `maps` a user namespace, too."""

    mount: bool = True
    maps: IdMaps | None = None


class Channel(msgspec.Struct, frozen=True):
    """The descriptors of one side: the worker reads `go` and writes `ready`, the outsider the reverse."""

    go: int
    ready: int

    def close(self) -> None:
        """Close both."""
        os.close(self.go)
        os.close(self.ready)


def open_channel() -> tuple[Channel, Channel]:
    """Return the worker's and the outsider's side; a program started by exec does not inherit them by default."""
    go_read, go_write = os.pipe()
    ready_read, ready_write = os.pipe()
    return Channel(go_read, ready_write), Channel(go_write, ready_read)


def enter(plan: NamespacePlan, channel: Channel | None) -> None:
    """Move this single-threaded process into the namespaces of `plan`; with maps it is uid 0 afterwards.

    `channel` is needed only with maps, and is closed. Raises HostError.
    """
    if plan.maps is None:
        if channel is not None:
            channel.close()
        if plan.mount:
            _unshare(syscalls.CLONE_NEWNS)
            _make_private()
        return
    if channel is None:
        raise HostError("a user namespace needs somebody outside to write its maps", code="namespaces")
    try:
        _unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        os.write(channel.ready, b"u")
        if os.read(channel.go, 1) != b"g":
            raise HostError("the maps of the user namespace were not written", code="id-map")
    finally:
        channel.close()
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if not plan.maps.deny_setgroups:
        os.setgroups([])
    _make_private()


def admit(pid: int, plan: NamespacePlan, channel: Channel) -> None:
    """Write the maps for worker `pid` when it asks for them; closes `channel`.

    Returns without an error when the worker ended first: the worker reports its own error.
    Raises HostError when the maps cannot be written; the worker then ends with an error too.
    """
    try:
        if plan.maps is not None and os.read(channel.ready, 1) == b"u":
            write_id_maps(pid, plan.maps)
            os.write(channel.go, b"g")
    finally:
        channel.close()


class _Report(msgspec.Struct, frozen=True):
    """The error that the fork reports before it ends."""

    message: str
    code: str
    hints: tuple[AnyHint, ...]


def fork_into_namespaces(plan: NamespacePlan, child: Callable[[], int]) -> int:
    """Fork, move the fork into the namespaces of `plan`, run `child` there and exit with its result.

    Returns the fork's pid as soon as the fork is in the namespaces. `child` handles its own errors and flushes
    its own files: the fork ends by `os._exit`.
    Raises HostError when either side failed; the fork is reaped then.
    """
    worker_side, own_side = open_channel()
    report_read, report_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            own_side.close()
            os.close(report_read)
            try:
                enter(plan, worker_side)
            except HostError as error:
                report = _Report(error.message, error.code, error.hints)
                os.write(report_write, msgspec.json.encode(report))
                code = error.exit_code
            else:
                os.close(report_write)
                code = child()
        except BaseException:  # noqa: BLE001  no exception may reach the parent's frames in the fork
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    worker_side.close()
    os.close(report_write)
    failure: HostError | None = None
    try:
        admit(pid, plan, own_side)
    except HostError as error:
        failure = error
    with open(report_read, "rb") as file:
        said = file.read()
    if said and failure is None:
        told = decode_json(said, _Report)
        failure = HostError(told.message, code=told.code, hints=told.hints)
    if failure is not None:
        os.waitpid(pid, 0)
        raise failure
    return pid


def _make_private() -> None:
    """Keep mounts inside this namespace. Raises HostError, e.g. in a chroot whose root is no mount point."""
    try:
        mounts.make_private()
    except OSError as error:
        reason = "it is no mount point" if error.errno == errno.EINVAL else (error.strerror or "").lower()
        raise HostError(
            f"mounts below the root directory cannot be kept private: {reason}",
            code="root-mount",
            hints=(ROOT_MOUNT_HINT,),
        ) from error


def _unshare(flags: int) -> None:
    try:
        syscalls.unshare(flags)
    except OSError as error:
        what = "user and mount namespaces" if flags & syscalls.CLONE_NEWUSER else "a mount namespace"
        raise HostError(
            f"cannot make {what}: {(error.strerror or '').lower()}",
            code="namespaces",
            hints=(Hint.of("host-lacks"),),
        ) from error

"""The control groups of one container: make, enter, freeze, kill, watch and remove them. Does I/O.

Any module above `linux` may import it. It is also part of the monitor's stand-alone program, which executes its source
among its own globals. So it imports only `os` and `select`, and `ctypes` for a program about devices.

`Groups` is a plain dict, made by containers/limits/plan.py, with

    version  1 or 2
    paths    {controller: directory}; version 2 has one directory, and its key is ""
    parents  [[directory, controllers]…], outermost first: groups above it, and what they hand down ("+cpu +memory")
    own      [[directory, file]…]: groups that the caller of make_groups enters itself
    values   [[file, text]…]: what is written once the groups are there, in this order
    later    [[file, text]…]: what is written when everything else is ready
    devices  version 2: the program that decides about devices, in hexadecimal digits; "" for none

Spec: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Groups = dict[str, Any]

_GROUP_KILL = 9
_GROUP_GONE, _GROUP_BUSY, _GROUP_UNABLE = 2, 16, 95
_GROUP_READABLE, _GROUP_CHANGED = 1, 2  # EPOLLIN, EPOLLPRI
_GROUP_PATIENCE_S = 5.0
# bpf(2); the numbers of linux/bpf.h.
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351,
            "i686": 357, "armv7l": 386, "armv6l": 386, "armv8l": 386}  # fmt: skip
_BPF_PROG_LOAD, _BPF_PROG_ATTACH = 5, 8
_BPF_PROG_TYPE_CGROUP_DEVICE, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI = 15, 6, 2
_GROUP_STEP_S = 0.002


def make_groups(groups: Groups) -> None:
    """Make the groups and set their values; those that are there stay. Raises OSError, whose filename says where."""
    for directory, file in groups.get("own", ()):
        _make_group(directory, False)
        write_value(f"{directory}/{file}", "0")
    for directory, controllers in groups.get("parents", ()):
        _make_group(directory, False)
        for controller in controllers.split():
            try:
                write_value(f"{directory}/cgroup.subtree_control", controller)
            except OSError:
                pass  # if a value needs it, its file is missing, which is the better message
    for controller, directory in groups["paths"].items():
        _make_group(directory, groups["version"] == 1 and "cpuset" in controller.split(","))
    write_values(groups["values"])
    if groups.get("devices"):
        attach_device_program(groups["paths"][""], bytes.fromhex(groups["devices"]))


def attach_device_program(directory: str, program: bytes) -> None:
    """Have a program decide about devices for a group of version 2. Raises OSError. Spec: bpf(2)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program, len(program))
    license = ctypes.create_string_buffer(b"Apache-2.0")

    def bpf(command: int, *words: tuple[int, int]) -> int:
        attributes = b"".join(value.to_bytes(size, "little") for size, value in words).ljust(128, b"\0")
        number = ctypes.c_long(_SYS_BPF.get(os.uname().machine, -1))
        result: int = libc.syscall(number, ctypes.c_long(command), attributes, ctypes.c_long(len(attributes)))
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), f"{directory} (program for devices)")
        return result

    group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        loaded = bpf(
            _BPF_PROG_LOAD, (4, _BPF_PROG_TYPE_CGROUP_DEVICE), (4, len(program) // 8),
            (8, ctypes.addressof(code)), (8, ctypes.addressof(license)),
        )  # fmt: skip
        try:
            bpf(_BPF_PROG_ATTACH, (4, group), (4, loaded), (4, _BPF_CGROUP_DEVICE), (4, _BPF_F_ALLOW_MULTI))
        finally:
            os.close(loaded)
    finally:
        os.close(group)


def write_values(values: list[list[str]]) -> None:
    """Write values in their order. Raises OSError."""
    for file, text in values:
        write_value(file, text)


def write_value(file: str, text: str) -> None:
    """Write to a file of a group. Raises OSError."""
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        error.filename = file  # write(2) does not tell
        raise


def open_joins(groups: Groups) -> list[int]:
    """Return descriptors for `join_groups`, for a process that will not see the groups any more. Raises OSError.

    Version 1 moves a process of one thread by `tasks` within 0.2 ms; `cgroup.procs` waits for every processor (12 ms).
    """
    file = "tasks" if groups["version"] == 1 else "cgroup.procs"
    directories = dict.fromkeys(groups["paths"].values())
    return [os.open(f"{directory}/{file}", os.O_WRONLY | os.O_CLOEXEC) for directory in directories]


def join_groups(joins: list[int]) -> None:
    """Move the calling process, which has one thread, into the groups. Raises OSError."""
    for fd in joins:
        os.write(fd, b"0")
        os.close(fd)


def member_pids(groups: Groups) -> list[int]:
    """Return the pids of all processes in the groups and in those beneath."""
    pids: dict[int, None] = {}
    for directory in _one_group(groups):
        for group in _group_tree(directory):
            for word in read_whole(f"{group}/cgroup.procs").split():
                pids[int(word)] = None
    return list(pids)


def can_freeze(groups: Groups) -> bool:
    """Say whether `freeze_groups` works."""
    return bool(_frozen_group(groups))


def freeze_groups(groups: Groups, frozen: bool) -> None:
    """Freeze or thaw every process, and return when it is so. Raises OSError, TimeoutError too."""
    directory = _frozen_group(groups)
    if not directory:
        raise OSError(_GROUP_UNABLE, "no control group of this container can be frozen")
    if groups["version"] == 1:
        _freeze_tasks(directory, b"FROZEN" if frozen else b"THAWED")
    else:
        write_value(f"{directory}/cgroup.freeze", "1" if frozen else "0")
        _await_group(directory, b"frozen 1" if frozen else b"frozen 0")


def kill_groups(groups: Groups) -> bool:
    """Kill every process, frozen ones too; say whether none is left."""
    if groups["version"] == 2:
        directory = groups["paths"][""]
        try:
            write_value(f"{directory}/cgroup.kill", "1")
        except FileNotFoundError:
            pass  # the group is gone, or the kernel is older than 5.14
        except OSError:
            return False
    waited = 0.0
    while pids := member_pids(groups):
        for pid in pids:
            try:
                os.kill(pid, _GROUP_KILL)
            except OSError:
                pass
        if groups["version"] == 1 and _frozen_group(groups):  # a frozen process of version 1 does not even die
            _try_value(f"{_frozen_group(groups)}/freezer.state", "THAWED")
        if waited > _GROUP_PATIENCE_S:
            return False
        select.select((), (), (), _GROUP_STEP_S)  # zombies leave their group when they are waited for
        waited += _GROUP_STEP_S
    return True


def remove_groups(groups: Groups) -> bool:
    """Remove the groups, and what the container made beneath; say whether all are gone. They must be empty."""
    gone = True
    for directory in dict.fromkeys(groups["paths"].values()):
        gone = _remove_group(directory) and gone
    return gone


def open_oom(groups: Groups) -> list[int]:
    """Return a watch for kills of processes for want of memory: descriptor, events for epoll, count; [] if impossible.

    `oom_happened` reads it. Close the descriptor before the groups are removed, which is an event too in version 1.
    """
    try:
        if groups["version"] == 2:
            directory = groups["paths"][""]
            fd = os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
            return [fd, _GROUP_CHANGED, _oom_kills(fd)]
        directory = _group_of(groups, "memory")
        if not directory:
            return []
        control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            write_value(f"{directory}/cgroup.event_control", f"{fd} {control}")
        finally:
            os.close(control)
        return [fd, _GROUP_READABLE, 0]
    except OSError:
        return []


def oom_happened(groups: Groups, watch: list[int]) -> bool:
    """Say whether there was a kill since the last question."""
    fd, _, seen = watch
    if groups["version"] == 1:
        try:
            return os.eventfd_read(fd) > 0
        except BlockingIOError:
            return False
    watch[2] = _oom_kills(fd)
    return watch[2] > seen


def _oom_kills(events: int) -> int:
    try:
        lines = os.pread(events, 4096, 0).splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(b"oom_kill ")), 0)


def _make_group(directory: str, cpuset: bool) -> None:
    """Make a group and those above it, which are of the controller `cpuset` of version 1, or not. Raises OSError."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for place in reversed(missing):
        try:
            os.mkdir(place)
        except FileExistsError:
            pass  # another container has the same parent
        if cpuset:
            _inherit_cpus(place)


def _inherit_cpus(directory: str) -> None:
    """Give a group of version 1 its parent's processors and memory: without, no process may enter it."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not read_whole(f"{directory}/{file}").strip():
            write_value(f"{directory}/{file}", read_whole(f"{os.path.dirname(directory)}/{file}").decode().strip())


def _group_of(groups: Groups, controller: str) -> str:
    """Return the directory of a controller of version 1, "" if it is not mounted."""
    return next((path for names, path in groups["paths"].items() if controller in names.split(",")), "")


def _one_group(groups: Groups) -> list[str]:
    """Return one of the directories, since all have the same processes; [] without groups."""
    return list(groups["paths"].values())[:1]


def _frozen_group(groups: Groups) -> str:
    """Return the directory that can be frozen, "" if none can."""
    directory: str = _group_of(groups, "freezer") if groups["version"] == 1 else groups["paths"].get("", "")
    file = "freezer.state" if groups["version"] == 1 else "cgroup.freeze"
    return directory if directory and os.path.exists(f"{directory}/{file}") else ""


def _freeze_tasks(directory: str, state: bytes) -> None:
    # The kernel tells nobody, and a process that is being made while it freezes needs a second request.
    waited = 0.0
    while True:
        write_value(f"{directory}/freezer.state", state.decode())
        if read_whole(f"{directory}/freezer.state").strip() == state:
            return
        if waited > _GROUP_PATIENCE_S:
            write_value(f"{directory}/freezer.state", "THAWED")
            raise TimeoutError(f"{directory} cannot be frozen")
        select.select((), (), (), _GROUP_STEP_S)
        waited += _GROUP_STEP_S


def _await_group(directory: str, line: bytes) -> None:
    """Wait until `cgroup.events` has a line. Raises OSError, TimeoutError too."""
    fd = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(fd, _GROUP_CHANGED)
        while line not in os.pread(fd, 4096, 0).splitlines():
            if not poll.poll(_GROUP_PATIENCE_S * 1000):
                raise TimeoutError(f"{directory} is not `{line.decode()}`")
    finally:
        os.close(fd)


def _group_tree(directory: str) -> Iterator[str]:
    """Yield a group and all beneath it, each before those beneath it."""
    waiting = [directory]
    while waiting:
        group = waiting.pop()
        yield group
        try:
            with os.scandir(group) as entries:
                waiting.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            pass  # gone


def _remove_group(directory: str) -> bool:
    waited = 0.0
    while True:
        try:
            for group in reversed(list(_group_tree(directory))):
                os.rmdir(group)
            return True
        except OSError as error:
            if error.errno == _GROUP_GONE:
                if not os.path.isdir(directory):
                    return True
            elif error.errno != _GROUP_BUSY or waited > _GROUP_PATIENCE_S / 5:
                return False
        select.select((), (), (), _GROUP_STEP_S)
        waited += _GROUP_STEP_S


def read_whole(file: str) -> bytes:
    """Return what a file of the kernel says, b"" if it is gone or cannot be read."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _try_value(file: str, text: str) -> None:
    try:
        write_value(file, text)
    except OSError:
        pass

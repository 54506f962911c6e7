"""Forks that become commands: the container's first process, and those of `exec`. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. What the fork does is `contain` of the
sandbox (`sandbox/init/contain.py`), where the lines of its status pipe and the messages of its channel are.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal
    from _socket import socket as Socket
    from collections.abc import Callable
    from typing import Any

    from firkin.containers.monitor.files import is_exiting
    from firkin.containers.monitor.loop import READABLE, Loop
    from firkin.linux.cgroups import join_groups, open_joins
    from firkin.sandbox.init.contain import contain, fork_into
    from firkin.sandbox.init.kernel import libc
else:
    import _signal as signal
    import _socket

TIOCSWINSZ = 0x5414
NEWPID, NEWUSER = 0x20000000, 0x10000000
RAN = 0  # no failure


class Ends:
    """What a command gets as its standard descriptors (`stdio`), and our ends of them; -1 for none."""

    def __init__(self, *, stdin: bool, tty: bool) -> None:
        self.stdio = (-1, -1, -1)
        self.stdin = self.stdout = self.stderr = -1
        if tty:
            return
        first = -1
        if stdin:
            first, self.stdin = os.pipe()
        self.stdout, second = os.pipe()
        self.stderr, third = os.pipe()
        self.stdio = (first, second, third)
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.set_blocking(fd, False)

    def close_theirs(self) -> None:
        for fd in self.stdio:
            if fd >= 0:
                os.close(fd)
        self.stdio = (-1, -1, -1)


class Spawned:
    """A command that is being started, runs, or has ended.

    `on_start(spawned)` is called when it runs, `on_failure(status, text)` when it never did; afterwards
    `on_end(exit code)`, with 128 + n for signal n. `terminal` is the master of its terminal, -1 before and without.
    """

    def __init__(
        self,
        loop: Loop,
        ends: Ends,
        on_start: Callable[[Spawned], None],
        on_failure: Callable[[int, str], None],
        on_end: Callable[[int], None],
    ) -> None:
        self.loop = loop
        self.ends = ends
        self.on_start, self.on_failure, self.on_end = on_start, on_failure, on_end
        self.on_ready: Callable[[], None] = lambda: None  # whoever `waits` is about to become the command
        self.pid = 0
        self.pidfd = -1
        self.fork = 0  # if it is not a process A, which ends
        self.terminal = -1
        self.size = (0, 0)
        self.lines = b""
        self.status = -1
        self.channel: Socket | None = None
        self.result: int | None = None

    def start(
        self, packed: Any, changes: dict[str, Any], joined: tuple[int, ...], cgroup: Any = None, maps: Any = None
    ) -> None:
        """Fork. `packed`, `cgroup` and `maps` are those of the launch document, `joined` are pidfds."""
        self.status, status_end = os.pipe()
        self.channel, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        parent = os.getpid()
        maker, is_first = fork_into(packed)
        if maker == 0:
            parent = 0 if is_first else parent
            become(self.ends, packed, changes, cgroup, status_end, other.fileno(), joined, parent)
        os.close(status_end)
        other.close()
        self.ends.close_theirs()
        os.set_blocking(self.status, False)
        if is_first:
            self.fork = maker
        else:
            self.loop.when_ended(maker, lambda _: None)
        self.loop.watch(self.status, READABLE, self.told)
        self.loop.watch(self.channel.fileno(), READABLE, lambda _: self.asked(maker, maps))

    def asked(self, maker: int, maps: Any) -> None:
        """Answer process A, which wants id maps or hands out a terminal."""
        channel = self.channel
        if channel is None:
            return
        try:
            message, extra, _, _ = channel.recvmsg(64, _socket.CMSG_SPACE(4))
        except OSError:
            message, extra = b"", []
        if message == b"u":
            fault = write_maps(maker, maps)
            if fault:
                self.lines += f"failed\0{128}\0{fault}\n".encode("utf-8", "replace")
                self.close_channel()
            else:
                self.go()
        elif message == b"t" and extra:
            self.take_terminal(int.from_bytes(extra[0][2][:4], sys.byteorder))
            self.go()
        elif message == b"l":
            self.on_ready()
            self.go()
        elif not message:
            self.close_channel()

    def go(self) -> None:
        """Answer that what was asked for is done."""
        try:
            if self.channel is not None:
                self.channel.send(b"g")
        except OSError:
            pass  # whoever asked has ended, which the status pipe tells

    def take_terminal(self, fd: int) -> None:
        self.terminal = fd
        os.set_inheritable(fd, False)
        os.set_blocking(fd, False)
        if any(self.size):
            self.resize(*self.size)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal, now or as soon as there is one."""
        self.size = (rows, columns)
        if self.terminal >= 0:
            import ctypes

            sizes = b"".join(value.to_bytes(2, sys.byteorder) for value in (rows, columns, 0, 0))
            libc.ioctl(self.terminal, ctypes.c_ulong(TIOCSWINSZ), sizes)

    def told(self, _: int) -> None:
        """Read the status pipe; at its end the command runs, or never will."""
        try:
            data = os.read(self.status, 1 << 14)
        except BlockingIOError:
            return
        self.lines += data
        if data:
            return
        self.loop.forget(self.status)
        os.close(self.status)
        if self.channel is not None:
            # The terminal was sent before the end of the status pipe, and its message may still wait.
            self.channel.setblocking(False)
            self.asked(0, None)
            self.close_channel()
        lines = [line.decode("utf-8", "replace").split("\0") for line in self.lines.split(b"\n") if line]
        pids = [int(line[1]) for line in lines if line[0] == "pid"]
        status, text = failure_of(lines, bool(pids))
        if pids or self.fork:
            self.follow(self.fork or pids[0], status != RAN)
        if status != RAN:
            self.on_failure(status, text)
        else:
            self.on_start(self)

    def follow(self, pid: int, failed: bool) -> None:
        """Wait for the command to end; one that failed to start is only reaped."""
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.loop.watch(self.pidfd, READABLE, self.reaped if failed else self.ended)

    def is_ending(self) -> bool:
        """Say whether the command has ended, or is ending: it has left its namespaces before its end is told."""
        return self.pidfd < 0 or is_exiting(self.pid)

    def reap(self) -> int:
        """Take the wait status of the command."""
        self.loop.forget(self.pidfd)
        result = os.waitpid(self.pid, 0)[1]
        os.close(self.pidfd)
        self.pidfd = -1
        return result

    def reaped(self, _: int) -> None:
        self.reap()

    def ended(self, _: int) -> None:
        code = os.waitstatus_to_exitcode(self.reap())
        self.result = code if code >= 0 else 128 - code
        self.on_end(self.result)

    def close_ends(self) -> None:
        """Close everything of a command that did not start."""
        self.ends.close_theirs()
        for fd in (self.ends.stdin, self.ends.stdout, self.ends.stderr, self.terminal):
            if fd >= 0:
                os.close(fd)

    def close_channel(self) -> None:
        channel, self.channel = self.channel, None
        if channel is not None:
            self.loop.forget(channel.fileno())
            channel.close()


def become(
    ends: Ends, packed: Any, changes: dict[str, Any], cgroup: Any, status: int, channel: int, joined: tuple[int, ...],
    parent: int,
) -> None:  # fmt: skip
    """Be the fork that becomes a command; never returns."""
    try:
        reset_oom_score()
        if cgroup is not None:
            join_groups(open_joins(cgroup))
        contain(packed, changes, status, channel, ends.stdio, joined, parent)
    except BaseException as fault:  # noqa: BLE001  the monitor must hear of it
        os.write(status, f"failed\0{128}\0{type(fault).__name__}: {fault}\n".encode("utf-8", "replace"))
    finally:
        os._exit(70)


def failure_of(lines: list[list[str]], has_pid: bool) -> tuple[int, str]:
    """Return what the lines of a status pipe say: RAN and "", or an exit status and why the command never ran."""
    for line in lines:
        if line[0] == "failed":
            return int(line[1]), line[2]
    return (RAN, "") if has_pid else (128, "the process that sets the container up ended without a word")


def reset_oom_score() -> None:
    """Commands must not inherit the monitor's score."""
    try:
        write_text("/proc/self/oom_score_adj", "0")
    except OSError:
        pass  # only root could lower it, so it is as it was


def write_maps(pid: int, maps: Any) -> str:
    """Write the id maps of a process; return what went wrong, or ""."""
    helpers = maps["helpers"] or [None, None]
    try:
        if maps["deny_setgroups"]:
            write_text(f"/proc/{pid}/setgroups", "deny")
        for key, helper in (("gid", helpers[1]), ("uid", helpers[0])):
            rows = maps[key]
            if helper is None:
                write_text(f"/proc/{pid}/{key}_map", "".join(f"{a} {b} {c}\n" for a, b, c in rows))
                continue
            words = [helper, str(pid), *(str(number) for row in rows for number in row)]
            child = os.posix_spawn(helper, words, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
            if os.waitpid(child, 0)[1]:
                return f"{helper} refused the id map (its words are in monitor.log)"
    except OSError as error:
        return f"the id map cannot be written: {error}"
    return ""


def write_text(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def signal_all(pidfd: int, pid: int, number: int) -> bool:
    """Send a signal to every process of a container without control groups; return whether it has got through.

    From inside of its PID namespace one call reaches all but the first process, in one moment.
    """
    helper = os.fork()
    if helper == 0:
        result = 1
        try:
            result = 0 if signal_namespace(pidfd, pid, number) else 1
        finally:
            os._exit(result)
    return os.waitpid(helper, 0)[1] == 0


def signal_namespace(pidfd: int, pid: int, number: int) -> bool:
    """Enter the PID namespace of a process (pidfd) and signal all in it; the first one from here."""
    own = os.stat("/proc/self/ns/pid").st_ino
    if libc.setns(pidfd, NEWUSER):
        pass  # it is in this user namespace
    if libc.setns(pidfd, NEWPID):
        return False
    child = os.fork()
    if child == 0:
        # In the machine's own namespace this would reach every process there is.
        try:
            if os.stat("/proc/self/ns/pid").st_ino != own:
                os.kill(-1, number)
                os._exit(0)
        except ProcessLookupError:
            os._exit(0)  # the first process is alone
        finally:
            os._exit(1)
    done = os.waitpid(child, 0)[1] == 0
    if done:
        signal.pidfd_send_signal(pidfd, number)
    return done

"""What a command writes goes to its log and to every client, what a client sends goes to it. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.containers.monitor.connection import Client
    from firkin.containers.monitor.log_files import BufferedLog, Log, NoLog
    from firkin.containers.monitor.loop import READABLE, WRITABLE, Loop

CHUNK = 1 << 16
DRAIN_S = 2.0  # how long output may still come after the command has ended


class Streams:
    """The output and input of one command. `sources` are what it writes to, by descriptor: 1 or 2."""

    def __init__(self, loop: Loop, log: Log | BufferedLog | NoLog | None, *, once: bool) -> None:
        self.loop = loop
        self.log = log
        self.once = once  # the end of a client's input is that of the command's
        self.sources: dict[int, int] = {}
        self.clients: dict[Client, tuple[bool, bool]] = {}
        self.held = False
        self.input = -1
        self.is_terminal = False
        self.pending = bytearray()
        self.input_ends = False
        self.feeding: set[Client] = set()
        self.on_empty: Callable[[], None] | None = None

    def connect(self, stdin: int, stdout: int, stderr: int) -> None:
        """Take our ends of a command's pipes, -1 for none."""
        self.is_terminal = False
        self.take_input(stdin)
        for fd, kind in ((stdout, 1), (stderr, 2)):
            self.add_source(fd, kind)

    def connect_terminal(self, fd: int, takes_input: bool) -> None:
        """Take the master of a terminal."""
        self.is_terminal = True
        self.take_input(os.dup(fd) if takes_input else -1)
        self.add_source(fd, 1)

    def take_input(self, fd: int) -> None:
        self.input = fd
        if fd >= 0:
            self.loop.watch(fd, 0, self.input_ready)
            if self.pending or self.input_ends:  # what came before the start
                self.loop.change(fd, WRITABLE)
        else:
            self.drop_input()

    def add_source(self, fd: int, kind: int) -> None:
        if fd >= 0:
            self.sources[fd] = kind
            self.loop.watch(fd, 0 if self.held else READABLE, lambda _: self.readable(fd))

    # From the command.

    def readable(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # EIO: nobody has the terminal open any more
        if not data:
            self.end_source(fd)
            return
        kind = self.sources[fd]
        if self.log is not None:
            self.log.write(kind, data)
        full = False
        for client, wants in tuple(self.clients.items()):
            if wants[kind - 1]:
                client.send(kind, data)
                full = full or client.full
        if full:
            self.hold(True)

    def end_source(self, fd: int) -> None:
        self.loop.forget(fd)
        kind = self.sources.pop(fd)
        os.close(fd)
        if self.log is not None:
            self.log.flush(kind)
        if not self.sources and self.on_empty is not None:
            call, self.on_empty = self.on_empty, None
            call()

    def hold(self, held: bool) -> None:
        if held != self.held:
            self.held = held
            for fd in self.sources:
                self.loop.change(fd, 0 if held else READABLE)

    def client_moved(self) -> None:
        """Go on reading when no client is full."""
        if self.held and not any(client.full for client in self.clients):
            self.hold(False)

    def drain(self, call: Callable[[], None]) -> None:
        """Call when everything that the command wrote has been passed on, after at most DRAIN_S.

        Orphans may hold the pipes for ever; and who does not read must not keep others from learning of the end.
        """
        if not self.sources:
            call()
            return
        timer = self.loop.after(DRAIN_S, self.cut_off)

        def empty() -> None:
            timer.cancel()
            call()

        self.on_empty = empty

    def cut_off(self) -> None:
        for fd in tuple(self.sources):
            if self.held:
                self.read_rest(fd)
            if fd in self.sources:
                self.end_source(fd)

    def read_rest(self, fd: int) -> None:
        """Read what a pipe holds, for the log and those who read; at most a pipe's capacity."""
        for _ in range(16):
            if fd in self.sources:
                self.readable(fd)

    # Clients.

    def attach(self, client: Client, stdin: bool, stdout: bool, stderr: bool) -> None:
        self.clients[client] = (stdout, stderr)
        client.drained.append(self.client_moved)
        client.leaving.append(lambda: self.leave(client))
        if stdin:
            self.feeding.add(client)

    def leave(self, client: Client) -> None:
        """A client has gone, or wants no more."""
        self.clients.pop(client, None)
        if client in self.feeding:
            self.feeding.discard(client)
            self.client_input_ended()
        self.client_moved()

    # To the command.

    def feed(self, client: Client, data: bytes) -> None:
        """Pass a client's input on."""
        if client not in self.feeding or self.input_ends or not data:
            return
        self.pending += data
        if self.input >= 0:
            self.input_ready(WRITABLE)
        if len(self.pending) >= CHUNK:
            client.hold(True)

    def feed_end(self, client: Client) -> None:
        """A client will send no more input."""
        if client in self.feeding:
            self.feeding.discard(client)
            client.hold(False)
            self.client_input_ended()

    def client_input_ended(self) -> None:
        # The end of a connection is not one for a terminal.
        if self.once and not self.is_terminal:
            self.input_ends = True
            if self.input >= 0:
                self.input_ready(WRITABLE)

    def input_ready(self, events: int) -> None:
        try:
            while self.pending:
                del self.pending[: os.write(self.input, self.pending)]
        except BlockingIOError:
            pass
        except OSError:
            self.drop_input()  # the command reads no more
            return
        if self.pending:
            self.loop.change(self.input, WRITABLE)
        elif self.input_ends or events & ~WRITABLE:
            self.drop_input()
        else:
            self.loop.change(self.input, 0)
        if len(self.pending) < CHUNK:
            for client in self.feeding:
                client.hold(False)

    def drop_input(self) -> None:
        """Close the command's input; what was not read is lost."""
        fd, self.input = self.input, -1
        if fd >= 0:
            self.loop.forget(fd)
            os.close(fd)
        self.pending.clear()
        for client in self.feeding:
            client.hold(False)

    def reset(self) -> None:
        """Forget the input of a command that has ended; the next one gets its own."""
        self.drop_input()
        self.input_ends = False

"""One client: its frames in, its frames out. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable
    from typing import Any

    from firkin.containers.monitor.loop import READABLE, WRITABLE, Loop
    from firkin.containers.monitor.wire import ANSWER, NOTICE, Frames, frame, to_json

FULL_BYTES = 1 << 18  # what waits for a client that does not read, before its container waits as well


class Client:
    """A connection. `on_frame(client, kind, payload)` gets what comes in; `leaving` are called when it is gone."""

    def __init__(self, loop: Loop, socket: Socket, on_frame: Callable[[Client, int, bytes], None]) -> None:
        self.loop = loop
        self.socket = socket
        self.fd = socket.fileno()
        self.on_frame = on_frame
        self.frames = Frames()
        self.waiting = bytearray()
        self.session: Any = None  # the second command that it is attached to, if any
        self.gone = False
        self.ending = False
        self.held = False
        self.leaving: list[Callable[[], None]] = []
        self.drained: list[Callable[[], None]] = []
        socket.setblocking(False)
        loop.watch(self.fd, READABLE, self.happened)

    @property
    def full(self) -> bool:
        """Whether the client should read before it gets more."""
        return len(self.waiting) >= FULL_BYTES

    def send(self, kind: int, payload: bytes) -> None:
        if self.gone or self.ending:
            return
        data = frame(kind, payload)
        if not self.waiting:
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            data = data[sent:]
        self.waiting += data
        self.set_events()

    def answer(self, **fields: Any) -> None:
        self.send(ANSWER, to_json({"ok": True, **fields}))

    def refuse(self, code: str, message: str, status: int = 0) -> None:
        self.send(ANSWER, to_json({"ok": False, "code": code, "message": message, "status": status}))

    def notice(self, **fields: Any) -> None:
        self.send(NOTICE, to_json(fields))

    def hold(self, held: bool) -> None:
        """Read nothing from the client for now, or go on."""
        if held != self.held:
            self.held = held
            self.set_events()

    def set_events(self) -> None:
        if not self.gone:
            reads = 0 if self.held else READABLE
            self.loop.change(self.fd, reads | (WRITABLE if self.waiting else 0))

    def finish(self) -> None:
        """Close the connection when everything has been sent."""
        self.ending = True
        if not self.waiting:
            self.close()

    def happened(self, events: int) -> None:
        if events & WRITABLE:
            self.flush()
        if events & ~WRITABLE and not self.gone:
            self.read()

    def flush(self) -> None:
        try:
            while self.waiting:
                del self.waiting[: self.socket.send(self.waiting)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if self.ending:
            self.close()
            return
        self.set_events()
        for call in self.drained:
            call()

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
            frames = self.frames.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            data, frames = b"", []
        if not data:
            self.close()
            return
        for kind, payload in frames:
            if not self.gone:
                self.on_frame(self, kind, payload)

    def close(self) -> None:
        """Close the connection now; whoever waits for this learns of it once."""
        if not self.gone:
            self.gone = True
            self.loop.forget(self.fd)
            self.socket.close()
            calls, self.leaving = self.leaving, []
            for call in calls:
                call()

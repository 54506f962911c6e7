"""The program: takes its document, locks the container, listens, serves, and ends. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names.
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal
    from typing import Any

    from firkin.containers.monitor.connection import Client
    from firkin.containers.monitor.files import is_deleted, take_lock, tell_of_deletions, unlink_if_there, write_own
    from firkin.containers.monitor.life import Life
    from firkin.containers.monitor.loop import READABLE, Alarm, Loop
    from firkin.containers.monitor.notes import Notes
    from firkin.containers.monitor.requests import PROTOCOL, receive
    from firkin.containers.monitor.wire import LAUNCH, Frames
    from firkin.sandbox.init.kernel import find_arguments, prctl, show_as
else:
    import _signal as signal
    import _socket

SET_DUMPABLE = 4
LEAST_OOM_SCORE = -999
MOST_CLIENTS = 1000
SPARE_DESCRIPTORS = 128  # for the command, second commands, logs: what a monitor is there for
REST_S = 1.0  # until it looks whether there are descriptors again
ECONNABORTED, EAGAIN, EINTR = 103, 11, 4


def serve(fd: int) -> None:
    """Be a monitor; `fd` is the connection to whoever started this process."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    prctl("dumpable", SET_DUMPABLE, 0)
    socket = _socket.socket(fileno=fd)
    os.set_inheritable(fd, False)
    document, rest = take_document(socket)
    if document is not None:
        show_as(find_arguments(), "firkin-monitor", str(document["id"])[:12])
        Server(document, socket).run(rest)
    os._exit(0)  # there is nothing that the interpreter would have to do


def take_document(socket: _socket.socket) -> tuple[dict[str, Any] | None, list[tuple[int, bytes]]]:
    """Return the launch document and what came after it; None if nobody wants a monitor after all."""
    frames = Frames()
    while data := socket.recv(1 << 20):
        found = frames.feed(data)
        if found:
            if found[0][0] != LAUNCH or frames.rest:
                return None, []
            return marshal.loads(found[0][1]), found[1:]
    return None, []


class Server:
    """Listens for clients, and is over when the container has ended and everybody was told."""

    def __init__(self, document: dict[str, Any], first: _socket.socket) -> None:
        self.document = document
        self.first = first
        self.loop = Loop()
        self.clients: set[Client] = set()
        self.most_clients = min(MOST_CLIENTS, max(os.sysconf("SC_OPEN_MAX") - SPARE_DESCRIPTORS, 16))
        self.resting: Alarm | None = None
        self.lock = -1
        self.lost = False
        self.listener: _socket.socket | None = None
        self.notes = Notes(document)
        self.life = Life(self.loop, document, self.notes)
        self.life.over = self.stop_listening
        self.life.close_all = self.close_all

    def run(self, waiting: list[tuple[int, bytes]]) -> None:
        document = self.document
        log = os.open(f"{document['home']}/monitor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(log, 2)
        os.close(log)
        lower_oom_score()
        self.heed_signals()
        client = self.admit(self.first)
        self.lock = take_lock(f"{document['home']}/monitor.lock")
        if self.lock < 0:
            client.refuse("running", f"container {document['id']} has a monitor already")
            return
        write_own(self.lock, f"{os.getpid()} {document['socket']}")
        tell_of_deletions(document["home"])
        self.listen(document["socket"])
        client.answer(version=PROTOCOL, pid=os.getpid())
        for kind, payload in waiting:
            receive(self.life, client, kind, payload)
        self.loop.run(self.notes.fault)
        try:
            self.life.delete_rest()
        except OSError as error:
            self.notes.fault(error)  # the next command goes on with it

    def heed_signals(self) -> None:
        """Take TERM, which everybody gets when the machine goes down, for a stop that nobody asked for by hand.

        IO tells of files that were deleted in the container's directory, URG that the socket cannot be found.
        """
        woken, waker = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        for number in (signal.SIGTERM, signal.SIGIO, signal.SIGURG):
            signal.signal(number, lambda *_: None)
        self.loop.watch(woken, READABLE, lambda _: self.heed(os.read(woken, 64)))

    def heed(self, numbers: bytes) -> None:
        if signal.SIGIO in numbers and not self.lost and self.listener is not None and is_deleted(self.lock):
            self.lost = True
            self.life.lose()
        if signal.SIGURG in numbers and self.listener is not None and not os.path.exists(self.document["socket"]):
            self.loop.forget(self.listener.fileno())
            self.listener.close()
            self.listen(self.document["socket"])
        if signal.SIGTERM in numbers:
            self.shut_down()

    def shut_down(self) -> None:
        life, document = self.life, self.document
        if life.phase in ("running", "waiting"):
            life.stop(document["stop_signal"], document["stop_timeout"], False, lambda status, text: None)

    def listen(self, path: str) -> None:
        try:
            os.unlink(path)  # of a monitor that died, as this one has the lock
        except FileNotFoundError:
            pass
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        listener.bind(path)
        listener.listen(128)
        listener.setblocking(False)
        self.listener = listener
        self.loop.watch(listener.fileno(), READABLE, self.accept)

    def accept(self, _: int) -> None:
        listener = self.listener
        if listener is None:
            return
        try:
            fd, _address = listener._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno not in (ECONNABORTED, EAGAIN, EINTR):
                self.rest()  # there are no descriptors, or no memory
            return
        os.set_inheritable(fd, False)
        client = self.admit(_socket.socket(fileno=fd))
        if len(self.clients) > self.most_clients:
            name = self.document["id"]
            client.refuse("failed", f"the monitor of container {name} has {self.most_clients} clients already")
            client.finish()

    def rest(self) -> None:
        """Accept nobody until a client leaves, or for some time: the socket stays readable, so to ask it would spin."""
        if self.listener is not None and self.resting is None:
            self.loop.change(self.listener.fileno(), 0)
            self.resting = self.loop.after(REST_S, self.rest_no_more)

    def rest_no_more(self) -> None:
        if self.resting is not None:
            self.resting.cancel()
            self.resting = None
            if self.listener is not None:
                self.loop.change(self.listener.fileno(), READABLE)

    def admit(self, socket: _socket.socket) -> Client:
        client = Client(self.loop, socket, self.received)
        self.clients.add(client)
        client.leaving.append(lambda: self.left(client))
        return client

    def received(self, client: Client, kind: int, payload: bytes) -> None:
        receive(self.life, client, kind, payload)

    def left(self, client: Client) -> None:
        self.clients.discard(client)
        self.life.forget(client)
        self.rest_no_more()
        if not self.clients and self.life.phase in ("new", "ended") and not self.life.removing:
            self.stop_listening()
            self.loop.over = True

    def stop_listening(self) -> None:
        """Be no monitor any more: nobody finds the socket, and another may take the lock."""
        listener, self.listener = self.listener, None
        if listener is None:
            return
        self.loop.forget(listener.fileno())
        unlink_if_there(self.document["socket"])
        listener.close()
        os.close(self.lock)

    def close_all(self) -> None:
        for client in tuple(self.clients):
            client.finish()
        if not self.clients:
            self.loop.over = True


def lower_oom_score() -> None:
    """Keep the kernel from choosing the monitor when memory is short; only root may."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, str(LEAST_OOM_SCORE).encode())
    except OSError:
        pass
    finally:
        os.close(fd)

"""Second commands in a running container: `exec`, and the probes of its health. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. A second command goes on when its client
goes; it ends with the container. Mirrors: moby daemon/exec.go.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from firkin.containers.monitor.connection import Client
    from firkin.containers.monitor.files import unlink_if_there, write_whole
    from firkin.containers.monitor.loop import Loop
    from firkin.containers.monitor.notes import Notes
    from firkin.containers.monitor.spawning import Ends, Spawned
    from firkin.containers.monitor.streams import Streams
    from firkin.containers.monitor.wire import to_json
    from firkin.sandbox.operations import Process
else:
    import _signal as signal

EXECS_FILE = "execs.json"
NOT_RUNNING = -1  # instead of an exit status: the container ended before the command ran
KEPT_S = 300.0  # how long an ended one can be inspected


class Second:
    """A second command. `wanted` has the fields of the request `exec`; `exit_code` is None until it has ended."""

    def __init__(self, execs: Execs, wanted: dict[str, Any]) -> None:
        self.execs = execs
        self.id = os.urandom(32).hex()
        self.wanted = wanted
        self.begun = self.running = False
        self.exit_code: int | None = None
        self.pid = 0
        self.ended_at = 0.0
        self.client: Client | None = None
        self.tty = bool(wanted.get("tty"))
        self.streams = Streams(execs.loop, None, once=True)
        self.spawned: Spawned | None = None
        self.size = (int(wanted.get("rows") or 0), int(wanted.get("columns") or 0))
        self.done: Callable[[int, str], None] = unheard
        self.on_end: Callable[[], None] = unheard
        self.words = f"{wanted['argv'][0]} {' '.join(wanted['argv'][1:])}"  # docker's, with its blank at the end

    def start(self, client: Client | None, done: Callable[[int, str], None]) -> None:
        """Start it; `done(exit status, text)` says whether it runs, with NOT_RUNNING if the container has just ended.

        An attached client gets its output and its end.
        """
        self.begun = True
        self.done = done
        self.client = client
        if client is not None:
            wanted = self.wanted
            client.session = self
            self.streams.attach(client, *(bool(wanted.get(name)) for name in ("stdin", "stdout", "stderr")))
        self.execs.event(self, f"exec_start: {self.words}")
        try:
            ends = Ends(stdin=bool(self.wanted.get("stdin")), tty=self.tty)
            self.spawned = Spawned(self.execs.loop, ends, self.started, self.failed, self.ended)
            self.spawned.resize(*self.size)
            self.execs.spawn(self.spawned, self.wanted)
        except OSError as error:
            self.failed(126, str(error))

    def started(self, spawned: Spawned) -> None:
        self.running = True
        self.pid = spawned.pid
        self.done(0, "")
        if spawned.terminal >= 0:
            self.streams.connect_terminal(spawned.terminal, bool(self.wanted.get("stdin")))
        else:
            self.streams.connect(spawned.ends.stdin, spawned.ends.stdout, spawned.ends.stderr)

    def failed(self, status: int, text: str) -> None:
        spawned, self.spawned = self.spawned, None
        if spawned is not None:
            spawned.close_ends()
        status = status if status in (126, 127) else 126
        first = self.execs.first()
        self.done(NOT_RUNNING if first is None or first.is_ending() else status, text)
        self.finish(status, text)

    def ended(self, code: int) -> None:
        self.streams.drain(lambda: self.finish(code, ""))

    def finish(self, code: int, text: str) -> None:
        """Everything is said: tell the end."""
        self.streams.reset()
        self.spawned = None
        if self.running:
            self.execs.event(self, "exec_die", exitCode=str(code))
        self.running = False
        self.exit_code = code
        self.ended_at = time.time()
        client = self.client
        if client is not None:
            client.notice(notice="exit", status=code, error=text)
            client.finish()
        self.execs.ended(self)
        self.on_end()

    def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)
        if self.spawned is not None:
            self.spawned.resize(rows, columns)

    def kill(self) -> None:
        """Kill it; what it started may go on."""
        if self.spawned is not None and self.spawned.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.spawned.pidfd, 9)
            except OSError:
                pass

    def document(self) -> dict[str, Any]:
        """Return what is told of it."""
        wanted = self.wanted
        names = ("argv", "user", "tty", "privileged", "stdin", "stdout", "stderr", "detach_keys", "cwd")
        return {
            "id": self.id, "running": self.running, "exit_code": self.exit_code, "pid": self.pid, "begun": self.begun,
            "ended_at": self.ended_at,
            **{name: wanted.get(name) for name in names},
        }  # fmt: skip


def unheard(*_: object) -> None:
    """Nobody wants to know."""


class Execs:
    """The second commands of a container, by id."""

    def __init__(
        self, loop: Loop, document: dict[str, Any], notes: Notes, first: Callable[[], Spawned | None]
    ) -> None:
        self.loop = loop
        self.launch = document
        self.notes = notes
        self.first = first  # returns the container's first process, None if it has ended
        self.known: dict[str, Second] = {}
        self.idle: Callable[[], None] | None = None

    def create(self, wanted: dict[str, Any]) -> Second:
        second = Second(self, wanted)
        self.known[second.id] = second
        self.event(second, f"exec_create: {second.words}")
        return second

    def event(self, second: Second, action: str, **attributes: str) -> None:
        self.notes.event(action, execID=second.id, **attributes)

    def spawn(self, spawned: Spawned, wanted: dict[str, Any]) -> None:
        changes = process_changes(self.launch, wanted)
        first = self.first()
        joined = -1 if first is None else first.pidfd
        spawned.start(self.launch["exec"], changes, (joined,), self.launch["cgroup"], None)

    def ended(self, second: Second) -> None:
        self.loop.after(KEPT_S, lambda: self.forget(second))
        if self.idle is not None and not self.busy():
            call, self.idle = self.idle, None
            call()

    def forget(self, second: Second) -> None:
        self.known.pop(second.id, None)

    def busy(self) -> bool:
        return any(second.spawned is not None for second in self.known.values())

    def end_all(self, call: Callable[[], None]) -> None:
        """Kill all, and call when everybody was told."""
        if not self.busy():
            call()
            return
        self.idle = call
        for second in tuple(self.known.values()):
            second.kill()

    def keep(self) -> None:
        """Write down what is known of those that have ended, for who asks when there is no monitor any more."""
        found = [second.document() for second in self.known.values() if second.exit_code is not None]
        path = f"{self.launch['home']}/{EXECS_FILE}"
        try:
            write_whole(path, to_json({"execs": found})) if found else unlink_if_there(path)
        except OSError as error:
            self.notes.say_once(f"{EXECS_FILE} cannot be written: {error}")

    def running_pids(self) -> list[int]:
        return [second.pid for second in self.known.values() if second.running]


def process_changes(document: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a container's process that are others for a second command."""
    packed = dict(zip(Process.__annotations__, document["exec"][4]))
    env = dict(packed["env"])
    if not document["given_term"]:
        env.pop("TERM", None)
        if wanted.get("tty"):
            env["TERM"] = "xterm"
    for entry in wanted.get("env") or ():
        name, equals, value = entry.partition("=")
        if equals:
            env[name] = value
        else:
            env.pop(name, None)
    changes: dict[str, Any] = {"argv": tuple(wanted["argv"]), "env": env, "terminal": bool(wanted.get("tty"))}
    for key in ("user", "cwd"):
        if wanted.get(key):
            changes[key] = wanted[key]
    if wanted.get("privileged"):
        changes["privileged"] = True
    return changes

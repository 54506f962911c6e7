"""A container's life: start, end, restart, stop, signals, pause. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. `containers/documents/lifecycle.py` has
the states; the order at an end is: output drained, state written, event `die`, who waits for the end, removal, who
waits for that, event `destroy`. Mirrors: moby daemon/monitor.go, stop.go, kill.go, restart.go, pause.go.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from firkin.containers.monitor.clock import next_wait, short_time_text, wants_restart
    from firkin.containers.monitor.connection import Client
    from firkin.containers.monitor.execs import Execs
    from firkin.containers.monitor.files import start_ticks
    from firkin.containers.monitor.limits import Limits, why_not_started
    from firkin.containers.monitor.log_files import make_log
    from firkin.containers.monitor.loop import READABLE, Alarm, Loop
    from firkin.containers.monitor.notes import Notes
    from firkin.containers.monitor.probing import Prober
    from firkin.containers.monitor.removal import (
        close_all_connections,
        delete_files,
        remove_at_once,
        remove_container,
    )
    from firkin.containers.monitor.spawning import Ends, Spawned
    from firkin.containers.monitor.streams import Streams
    from firkin.containers.monitor.wire import from_json
    from firkin.linux.cgroups import read_whole

    Done = Callable[[int, str], None]
else:
    import _signal as signal

KILL_WAIT_S = 10.0
SHORT_WAIT_S = 2.0  # for a command that could not even be signalled
KILL = 9


class Unjoinable(Exception):
    """A container whose namespaces are wanted does not run."""


def ignored() -> None:
    """Nobody wants to know."""


class Life:
    """One container. `phase`: new, starting, running, waiting (to restart), ended."""

    def __init__(self, loop: Loop, document: dict[str, Any], notes: Notes) -> None:
        self.loop = loop
        self.document = document
        self.notes = notes
        # Set by the server: stop listening; and close every connection, which ends the monitor.
        self.over: Callable[[], None] = ignored
        self.close_all: Callable[[], None] = ignored
        self.phase = "new"
        self.log = make_log(document["log"], loop, notes)
        self.streams = Streams(loop, self.log, once=document["stdin_once"])
        self.spawned: Spawned | None = None
        self.size: tuple[int, int] = tuple(document.get("size") or (0, 0))
        self.began = 0.0
        self.wait_s = 0.0
        self.policy_off = False
        self.again: list[Done] = []  # who asked for a restart
        self.stopping: list[Done] = []  # who waits for a stop or a kill
        self.stop_asked = False
        self.timer: Alarm | None = None
        self.waiters: list[tuple[str, Client]] = []
        self.attached: dict[Client, str] = {}  # and until when
        self.starters: list[Done] = []
        self.execs = Execs(loop, document, notes, lambda: self.spawned)
        settings = document["health"]
        self.prober = Prober(loop, settings, notes, self.execs, self.unhealthy) if settings else None
        self.limits = Limits(loop, document, notes)
        self.held = -1  # the lock of a container whose files are still to be deleted
        self.removing = False  # a fork is removing the container

    # Start.

    def start(self, new: bool, done: Done) -> None:
        """Start the command; `done(exit status, why it did not start)`."""
        if new:
            self.notes.state.update(restart_count=0, retries=0, by_hand=False)
            self.wait_s = 0.0
        self.policy_off = False
        self.starters.append(done)
        if self.phase == "starting":
            return
        self.cancel_timer()
        self.phase = "starting"
        document = self.document
        joined: list[int] = []
        try:
            for path in document["joined"]:
                joined.append(running_pidfd(path))
            self.limits.make()
            ends = Ends(stdin=document["open_stdin"], tty=document["tty"])
            self.spawned = Spawned(self.loop, ends, self.started, self.failed, self.ended)
            self.spawned.resize(*self.size)
            self.spawned.on_ready = self.limits.write_later
            changes = {"waits": True} if self.limits.has_later else {}
            self.spawned.start(document["plan"], changes, tuple(joined), document["cgroup"], document["maps"])
        except (OSError, Unjoinable) as error:
            self.failed(128, why_not_started(error))
        finally:
            for fd in joined:
                os.close(fd)

    def started(self, spawned: Spawned) -> None:
        self.phase = "running"
        self.began = time.monotonic()
        ends = spawned.ends
        if spawned.terminal >= 0:
            self.streams.connect_terminal(spawned.terminal, self.document["open_stdin"])
        else:
            self.streams.connect(ends.stdin, ends.stdout, ends.stderr)
        if self.prober is not None:
            self.prober.begin()
        self.notes.save(
            running=True, paused=False, restarting=False, oom_killed=False, pid=spawned.pid, exit_code=0, error="",
            started_at=short_time_text(time.time_ns()), started_ticks=start_ticks(spawned.pid),
            boot=boot_id(), monitor=os.getpid(),
        )  # fmt: skip
        self.limits.watch()
        self.notes.event("start")
        self.tell_starters(0, "")

    def failed(self, status: int, text: str) -> None:
        """The command never ran: that ends the container, and a policy is not asked."""
        spawned, self.spawned = self.spawned, None
        if spawned is not None:
            spawned.close_ends()
        self.limits.end()
        restarted = self.notes.state["restarting"]
        changes: dict[str, Any] = {"finished_at": short_time_text(time.time_ns())} if restarted else {}
        self.notes.save(running=False, restarting=False, pid=0, exit_code=status, error=text, **changes)
        self.phase = "ended"
        self.tell_starters(status, text)
        self.finish(status, text)

    def when_started(self, call: Callable[[], None]) -> bool:
        """Say whether a start is under way; then `call` is called when it is over, whether it succeeded or not."""
        if self.phase != "starting":
            return False
        self.starters.append(lambda status, text: call())
        return True

    def tell_starters(self, status: int, text: str) -> None:
        calls, self.starters = self.starters, []
        for call in calls:
            call(status, text)

    # End.

    def ended(self, code: int) -> None:
        """The first process has ended; so has everything else in its PID namespace."""
        self.cancel_timer()
        if self.prober is not None:
            self.prober.stop()
        self.execs.end_all(lambda: self.streams.drain(lambda: self.settle(code)))

    def settle(self, code: int) -> None:
        """Everything is said: write the end down, and go on as the policy says."""
        self.streams.reset()
        self.spawned = None
        self.limits.end()
        state = self.notes.state
        ran_s = time.monotonic() - self.began
        policy = self.document["restart"]
        goes_on = not self.policy_off and not self.again and wants_restart(
            policy["name"], policy["most"], code, state["retries"], state["by_hand"]
        )  # fmt: skip
        self.phase = "waiting" if goes_on else "ended"
        self.notes.save(
            running=goes_on, restarting=goes_on, paused=False, pid=0, exit_code=code,
            finished_at=short_time_text(time.time_ns()),
        )  # fmt: skip
        self.note_stop()
        self.notes.event("die", exitCode=str(code), execDuration=str(int(ran_s)))
        if goes_on:
            self.tell_stopped()
            self.tell_ended(code, "", "exit")
            self.wait_s = next_wait(self.wait_s, ran_s)
            self.timer = self.loop.after(self.wait_s, self.start_again)
        elif self.again:
            self.tell_stopped()
            self.tell_ended(code, "", "exit")
            self.restart_now()
        else:
            self.finish(code, "")

    def start_again(self) -> None:
        """Restart by the policy."""
        state = self.notes.state
        state.update(restart_count=state["restart_count"] + 1, retries=state["retries"] + 1)
        self.start(False, lambda status, text: None)

    def restart_now(self) -> None:
        """Restart for those who asked."""
        calls, self.again = self.again, []

        def done(status: int, text: str) -> None:
            if not status:
                self.notes.event("restart")
            for call in calls:
                call(status, text)

        self.phase = "new"
        self.start(True, done)

    def note_stop(self) -> None:
        """Write the event of a stop that was asked for."""
        if self.stop_asked:
            self.stop_asked = False
            self.notes.event("stop")

    def tell_stopped(self) -> None:
        """Answer who asked for a stop or a kill."""
        calls, self.stopping = self.stopping, []
        for call in calls:
            call(0, "")

    def finish(self, code: int, text: str) -> None:
        """The container has ended and will not start again here."""
        self.phase = "ended"
        self.cancel_timer()  # of a stop that came when the command had just ended
        self.log.close()
        if self.document["auto_remove"] is not None:
            self.notes.save(removing=True)
        self.execs.keep()
        # Whoever is told of the end may start it at once, and must not find this monitor any more.
        self.over()
        self.tell_stopped()
        self.tell_ended(code, text, "exit")
        if self.document["auto_remove"] is None:
            # Who waits for a removal asks the next monitor, since this one ends.
            self.waiters = []
            self.gone(code, text)
        else:
            self.remove(code, text)

    def remove(self, code: int, text: str) -> None:
        """Remove the container; its files go when everybody was told."""
        held = remove_at_once(self.document)
        if held < 0:
            self.remove_in_fork(code, text)
            return
        self.tell_ended(code, text, "removed")
        self.notes.event("destroy")
        self.close_all()
        if self.loop.over:
            self.held = held
        else:  # somebody has not read everything yet
            self.fork_for(lambda: self.delete(held))
            os.close(held)

    def delete(self, held: int) -> None:
        close_all_connections(held)
        delete_files(self.document, held)

    def delete_rest(self) -> None:
        """Delete the files of a removed container; at the end of the monitor."""
        if self.held >= 0:
            delete_files(self.document, self.held)

    def remove_in_fork(self, code: int, text: str) -> None:
        """Remove the container, with volumes, and with locks to wait for."""
        told, told_end = os.pipe()
        if not self.fork_for(lambda: remove_container(self.document, told_end)):
            self.gone(code, text)  # the next command removes it
            return
        os.close(told_end)
        self.removing = True  # so the monitor stays to tell it, even if nobody is connected

        def removed(_: int) -> None:
            self.removing = False
            text_of = os.read(told, 1 << 16).decode()
            self.loop.forget(told)
            os.close(told)
            self.tell_ended(code, text, "removed")
            for name in text_of.split():
                self.notes.volume_event("destroy", name)
            if text_of:  # else it failed
                self.notes.event("destroy")
            self.close_all()

        self.loop.watch(told, READABLE, removed)

    def fork_for(self, work: Callable[[], None]) -> bool:
        """Do something in a fork; return whether there is one. What it leaves undone, the next command does."""
        try:
            pid = os.fork()
        except OSError as error:
            self.notes.fault(error)
            return False
        if pid == 0:
            result = 1
            try:
                work()
                result = 0
            except BaseException as fault:  # noqa: BLE001  the next command goes on with it
                self.notes.fault(fault)
            finally:
                os._exit(result)
        self.loop.when_ended(pid, lambda _: None)
        return True

    def stop_waiting(self) -> None:
        """The container was removed before it was started."""
        self.phase = "ended"
        self.over()
        self.tell_ended(self.notes.state["exit_code"], "", "exit")
        self.gone(self.notes.state["exit_code"], "")

    def gone(self, code: int, text: str) -> None:
        """Nothing is left to do but to tell it."""
        self.tell_ended(code, text, "removed")
        self.close_all()

    def tell_ended(self, code: int, text: str, until: str) -> None:
        """Tell clients that wait for the end, or for the removal, and close the connections of attached ones."""
        fields = {"status": code, "error": text}
        stay = []
        for condition, client in self.waiters:
            if until == "removed" or condition != "removed":
                client.answer(**fields)
            else:
                stay.append((condition, client))
        self.waiters = stay
        for client, condition in tuple(self.attached.items()):
            if until == "removed" or condition != "removed":
                client.notice(notice="exit", **fields)
                self.streams.feeding.discard(client)  # its input has no end for a command that comes after this one
                client.finish()

    # Clients.

    def attach(self, client: Client, stdin: bool, stdout: bool, stderr: bool, until: str) -> None:
        self.attached[client] = until
        self.streams.attach(client, stdin and self.document["open_stdin"], stdout, stderr)
        self.notes.event("attach")

    def wait(self, client: Client, condition: str) -> None:
        if condition == "not-running" and self.phase in ("new", "ended"):
            client.answer(status=self.notes.state["exit_code"], error=self.notes.state["error"])
        else:
            self.waiters.append((condition, client))

    def forget(self, client: Client) -> None:
        """A client has gone: nobody waits for it, and what it asked for goes on."""
        self.waiters = [waiter for waiter in self.waiters if waiter[1] is not client]
        self.attached.pop(client, None)

    def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)
        if self.spawned is not None:
            self.spawned.resize(rows, columns)
            self.notes.event("resize", height=str(rows), width=str(columns))

    # Signals.

    def send(self, number: int) -> bool:
        """Send the first process a signal; return whether it got it."""
        spawned = self.spawned
        if spawned is None or spawned.pidfd < 0:
            return False
        try:
            signal.pidfd_send_signal(spawned.pidfd, number)
        except OSError:
            return False
        return True

    def signal(self, number: int, done: Done) -> None:
        """What `kill` does; for KILL, `done` is called at the end of the container."""
        document = self.document
        ends = number in (KILL, document["stop_signal"]) or not document["own_stop_signal"]
        if ends:
            self.policy_off = True
        self.notes.save(by_hand=True)
        if self.phase == "waiting":
            if ends:
                self.stopping.append(done)
                self.give_up()
            else:
                done(0, "")
            return
        self.notes.event("kill", signal=str(number))
        self.send(number)
        if ends and self.notes.state["paused"]:
            self.thaw()
        if number == KILL:
            self.stopping.append(done)
        else:
            done(0, "")

    def give_up(self) -> None:
        """End a container that waits to be restarted."""
        self.cancel_timer()
        self.notes.save(running=False, restarting=False)
        self.note_stop()
        self.finish(self.notes.state["exit_code"], "")

    def stop(self, number: int, timeout: float, by_hand: bool, done: Done) -> None:
        """Ask the command to end, and kill it after `timeout` seconds (negative: never)."""
        self.policy_off = True
        self.stop_asked = True
        self.stopping.append(done)
        if by_hand:
            self.notes.save(by_hand=True)
        if self.phase == "waiting":
            self.give_up()
            return
        self.notes.event("kill", signal=str(number))
        sent = self.send(number)
        if self.notes.state["paused"]:
            self.thaw()
        self.cancel_timer()
        if not sent:
            timeout = SHORT_WAIT_S if timeout < 0 else min(timeout, SHORT_WAIT_S)
        if timeout >= 0:
            self.timer = self.loop.after(timeout, self.kill)

    def lose(self) -> None:
        """Somebody deleted the container's files under it: nobody could reach it any more, so it ends."""
        self.policy_off = True
        self.document["auto_remove"] = None
        if self.phase == "new":
            self.stop_waiting()
        elif self.phase == "waiting":
            self.give_up()
        elif self.phase != "ended":
            if self.notes.state["paused"]:
                self.thaw()
            self.send(KILL)
            self.loop.after(SHORT_WAIT_S, self.lose)  # what is starting cannot be signalled yet

    def kill(self) -> None:
        """The command had its time."""
        self.notes.event("kill", signal=str(KILL))
        self.send(KILL)
        self.timer = self.loop.after(KILL_WAIT_S, self.send_kill)

    def send_kill(self) -> None:
        self.send(KILL)

    def restart(self, number: int, timeout: float, done: Done) -> None:
        """Stop and start, or start at once what waits for its back-off or has not started."""
        self.again.append(done)
        if self.phase == "running":
            if len(self.again) == 1:
                self.stop(number, timeout, False, lambda status, text: None)
        else:
            self.cancel_timer()
            self.restart_now()

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    # Pause.

    def pause(self) -> bool:
        """Freeze every process of the container; return whether that was possible."""
        if not self.limits.freeze(True, self.spawned):
            return False
        if self.prober is not None:
            self.prober.stop()
        self.notes.save(paused=True)
        self.notes.event("pause")
        return True

    def thaw(self) -> None:
        self.limits.freeze(False, self.spawned)
        self.notes.save(paused=False)
        self.notes.event("unpause")
        if self.prober is not None and self.phase == "running":
            self.prober.go_on()

    # Health.

    def unhealthy(self) -> None:
        """Do what was asked for in this case. Mirrors: podman --health-on-failure."""
        action = self.document["health"]["on_failure"]
        document = self.document
        if action == "kill":
            self.signal(KILL, lambda status, text: None)
        elif action == "stop":
            self.stop(document["stop_signal"], document["stop_timeout"], False, lambda status, text: None)
        elif action == "restart":
            self.restart(document["stop_signal"], document["stop_timeout"], lambda status, text: None)


def running_pidfd(path: str) -> int:
    """Return a descriptor of the first process of a container, by the path of its state. Raises Unjoinable."""
    name = path.split("/")[-2]
    state = from_json(read_whole(path) or b"{}")
    pid = state.get("pid") or 0
    if not pid or state["boot"] != boot_id():
        raise Unjoinable(f"cannot join a container that is not running: {name}")
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        raise Unjoinable(f"cannot join a container that is not running: {name}") from None
    if start_ticks(pid) != state["started_ticks"]:
        os.close(pidfd)
        raise Unjoinable(f"cannot join a container that is not running: {name}")
    return pidfd


def boot_id() -> str:
    return read_whole("/proc/sys/kernel/random/boot_id").decode().strip()

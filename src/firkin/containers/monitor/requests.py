"""What a client may ask for: one function an operation. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. docs/dev/monitor.md has the table.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from firkin.containers.monitor.connection import Client
    from firkin.containers.monitor.execs import NOT_RUNNING, Second
    from firkin.containers.monitor.life import Done, Life
    from firkin.containers.monitor.wire import REQUEST, STDIN, STDIN_END, from_json
    from firkin.linux.cgroups import member_pids, read_whole

PROTOCOL = 1
MOST_CELLS = 0xFFFF  # struct winsize has 16 bits for each


class Refused(Exception):
    """A request cannot be met: the kind of fault, and the message."""


def answering(client: Client, **fields: Any) -> Done:
    """Return what answers a client when a start or a stop is done."""

    def done(status: int, text: str) -> None:
        if status:
            client.refuse("failed", text, status)
        else:
            client.answer(**fields)

    return done


def running(life: Life, *, paused: bool = True, restarting: bool = True) -> None:
    """Raise Refused unless the container runs; say whether it may be paused, or wait for a restart."""
    name = life.document["id"]
    if life.phase not in ("running", "waiting", "starting"):
        raise Refused("conflict", f"container {name} is not running")
    if life.phase != "running" and not restarting:
        raise Refused("conflict", f"Container {name} is restarting, wait until the container is running")
    if not paused and life.notes.state["paused"]:
        raise Refused("conflict", f"Container {name} is paused, unpause the container before exec")


def _op_hello(life: Life, client: Client, request: dict[str, Any]) -> None:
    client.answer(version=PROTOCOL, phase=life.phase)


def _op_start(life: Life, client: Client, request: dict[str, Any]) -> None:
    if life.phase == "ended":
        raise Refused("ended", "the monitor has ended")
    if life.phase in ("running", "waiting"):
        client.answer(already=True, pid=life.notes.state["pid"])
        return

    def done(status: int, text: str) -> None:
        answering(client, already=False, pid=life.notes.state["pid"])(status, text)

    life.start(bool(request.get("new", True)), done)


def _op_attach(life: Life, client: Client, request: dict[str, Any]) -> None:
    if life.phase == "ended":
        raise Refused("ended", "the monitor has ended")
    until = "removed" if request.get("until") == "removed" else "exit"
    stdin, stdout, stderr = (bool(request.get(name)) for name in ("stdin", "stdout", "stderr"))
    if request.get("logs"):
        # Nothing is read from the command meanwhile: what is not before the mark comes on this connection.
        client.answer(tty=life.document["tty"], log=life.log.mark())
        for kind, wanted in ((1, stdout), (2, stderr)):
            rest = life.log.unfinished(kind) if wanted else b""
            if rest:
                client.send(kind, rest)
    else:
        client.answer(tty=life.document["tty"])
    life.attach(client, stdin, stdout, stderr, until)


def _op_detach(life: Life, client: Client, request: dict[str, Any]) -> None:
    life.notes.event("detach")
    client.answer()


def _op_wait(life: Life, client: Client, request: dict[str, Any]) -> None:
    condition = request.get("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise Refused("invalid", f'invalid condition: "{condition}"')
    life.wait(client, condition)


def _op_signal(life: Life, client: Client, request: dict[str, Any]) -> None:
    if life.when_started(lambda: receive_request(life, client, request)):
        return
    running(life)
    life.signal(int(request["number"]), answering(client))


def _op_stop(life: Life, client: Client, request: dict[str, Any]) -> None:
    if life.when_started(lambda: receive_request(life, client, request)):
        return
    if life.phase not in ("running", "waiting"):
        client.answer(already=True)
        return
    life.stop(*stop_terms(life, request), True, answering(client, already=False))


def _op_restart(life: Life, client: Client, request: dict[str, Any]) -> None:
    if life.when_started(lambda: receive_request(life, client, request)):
        return
    if life.phase == "ended":
        raise Refused("ended", "the monitor has ended")
    life.restart(*stop_terms(life, request), answering(client))


def stop_terms(life: Life, request: dict[str, Any]) -> tuple[int, float]:
    """Return signal and patience (seconds) of a stop."""
    number, timeout = request.get("signal"), request.get("timeout")
    document = life.document
    return (
        document["stop_signal"] if number is None else int(number),
        float(document["stop_timeout"] if timeout is None else timeout),
    )


def _op_pause(life: Life, client: Client, request: dict[str, Any]) -> None:
    running(life, restarting=False)
    if life.notes.state["paused"]:
        raise Refused("conflict", f"Container {life.document['id']} is already paused")
    if not life.pause():
        raise Refused("failed", f"container {life.document['id']} cannot be paused here")
    client.answer()


def _op_unpause(life: Life, client: Client, request: dict[str, Any]) -> None:
    if not life.notes.state["paused"]:
        raise Refused("failed", f"Container {life.document['id']} is not paused")
    life.thaw()
    client.answer()


def _op_resize(life: Life, client: Client, request: dict[str, Any]) -> None:
    (client.session or life).resize(*size_of(request))
    client.answer()


def _op_update(life: Life, client: Client, request: dict[str, Any]) -> None:
    for key in ("restart", "name", "stop_timeout"):
        if key in request:
            life.document[key] = request[key]
    limits = request.get("limits")
    if limits is not None and life.document["cgroup"] is not None:
        life.document["cgroup"].update(limits)  # for the next start; those of this one are written already
    client.answer()


def _op_removed(life: Life, client: Client, request: dict[str, Any]) -> None:
    if life.phase != "new":
        raise Refused("conflict", f"container {life.document['id']} is running")
    client.answer()
    life.stop_waiting()


def _op_exec(life: Life, client: Client, request: dict[str, Any]) -> None:
    running(life, paused=False, restarting=False)
    begin_second(life, life.execs.create(wanted_of(request)), client, request)


def _op_exec_create(life: Life, client: Client, request: dict[str, Any]) -> None:
    running(life, paused=False, restarting=False)
    client.answer(exec=life.execs.create(wanted_of(request)).id)


def _op_exec_start(life: Life, client: Client, request: dict[str, Any]) -> None:
    second = second_of(life, request)
    running(life, paused=False, restarting=False)
    if second.begun:
        raise Refused("conflict", f"exec command {second.id} has already started" if second.running else
                      f"exec command {second.id} has already run")  # fmt: skip
    begin_second(life, second, client, request)


def _op_exec_inspect(life: Life, client: Client, request: dict[str, Any]) -> None:
    client.answer(found=second_of(life, request).document())


def _op_exec_resize(life: Life, client: Client, request: dict[str, Any]) -> None:
    second_of(life, request).resize(*size_of(request))
    client.answer()


def wanted_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a second command, checked; raises Refused."""
    argv = request["argv"]
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise Refused("invalid", "No exec command specified")
    return {key: value for key, value in request.items() if key not in ("op", "detach")}


def size_of(request: dict[str, Any]) -> tuple[int, int]:
    """Return rows and columns of a terminal, as the kernel takes them; raises Refused."""
    rows, columns = int(request["rows"]), int(request["columns"])
    if not (0 <= rows <= MOST_CELLS and 0 <= columns <= MOST_CELLS):
        raise Refused("invalid", f"no terminal has {rows} rows and {columns} columns")
    return rows, columns


def second_of(life: Life, request: dict[str, Any]) -> Second:
    """Return the second command that a request is about; raises Refused."""
    second = life.execs.known.get(str(request["exec"]))
    if second is None:
        raise Refused("missing", f"No such exec instance: {request['exec']}")
    return second


def begin_second(life: Life, second: Second, client: Client, request: dict[str, Any]) -> None:
    def done(status: int, text: str) -> None:
        if status == NOT_RUNNING:
            client.refuse("conflict", f"container {life.document['id']} is not running")
            return
        answering(client, exec=second.id, pid=second.pid, tty=second.tty)(status, text)

    if request.get("rows"):
        second.size = size_of(request)
    second.start(None if request.get("detach") else client, done)


def _op_top(life: Life, client: Client, request: dict[str, Any]) -> None:
    running(life, restarting=False)
    groups = life.document["cgroup"]
    roots = [life.notes.state["pid"], *life.execs.running_pids()]
    client.answer(pids=member_pids(groups) if groups is not None else descendants(roots))


def descendants(roots: list[int]) -> list[int]:
    """Return processes with all their descendants: orphans of a container become children of its first process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = read_whole(f"/proc/{name}/stat").rpartition(b")")[2].split()
            if len(fields) > 1:
                children.setdefault(int(fields[1]), []).append(int(name))
    found = []
    while roots:
        pid = roots.pop(0)
        found.append(pid)
        roots.extend(children.get(pid, ()))
    return sorted(found)


OPERATIONS: dict[str, Callable[[Life, Client, dict[str, Any]], None]] = {
    "hello": _op_hello,
    "start": _op_start,
    "attach": _op_attach,
    "detach": _op_detach,
    "wait": _op_wait,
    "signal": _op_signal,
    "stop": _op_stop,
    "restart": _op_restart,
    "pause": _op_pause,
    "unpause": _op_unpause,
    "resize": _op_resize,
    "update": _op_update,
    "removed": _op_removed,
    "exec": _op_exec,
    "exec-create": _op_exec_create,
    "exec-start": _op_exec_start,
    "exec-inspect": _op_exec_inspect,
    "exec-resize": _op_exec_resize,
    "top": _op_top,
}


def receive(life: Life, client: Client, kind: int, payload: bytes) -> None:
    """Handle one frame of a client."""
    streams = (client.session or life).streams
    if kind == STDIN:
        streams.feed(client, payload)
    elif kind == STDIN_END:
        streams.feed_end(client)
    elif kind == REQUEST:
        try:
            request = from_json(payload)
        except ValueError as error:
            client.refuse("invalid", f"invalid request: {type(error).__name__}: {error}")
        else:
            receive_request(life, client, request)


def receive_request(life: Life, client: Client, request: dict[str, Any]) -> None:
    """Do what a client asks for, or refuse it."""
    try:
        call = OPERATIONS.get(str(request.get("op")))
        if call is None:
            client.refuse("unknown-op", f"a monitor of version {PROTOCOL} does not know `{request.get('op')}`")
        else:
            call(life, client, request)
    except Refused as refused:
        client.refuse(*refused.args)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        client.refuse("invalid", f"invalid request: {type(error).__name__}: {error}")

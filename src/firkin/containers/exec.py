"""Run second commands in a running container. Does I/O.

    attached = run_exec(engine, "web", ExecRequest(("ls", "-l")))

An exec has an id of 64 digits. Its container's monitor keeps it until five minutes after its end. Mirrors: moby
daemon/exec.go.
"""

from __future__ import annotations

import time

from firkin.containers.home.finder import not_running
from firkin.containers.link.attach import Attached
from firkin.containers.link.connection import MonitorGone, connect
from firkin.containers.monitor.wire import from_json
from firkin.errors import ContainerError
from firkin.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from firkin.containers.home.engine import Engine
    from firkin.containers.link.connection import Link

_KEPT_S = 300.0  # how long an exec that has ended is known


class ExecRequest(NamedTuple):
    """A second command. `env` are "NAME=value" ("NAME" removes it); `user` and `cwd` "" are the container's own."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    cwd: str = ""
    tty: bool = False
    privileged: bool = False
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    rows: int = 0
    columns: int = 0
    detach_keys: str = ""


class ExecState(NamedTuple):
    """An exec as it is now; `exit_code` is None until it has ended, `pid` 0 until it was started."""

    id: str
    container: str
    running: bool
    begun: bool
    exit_code: int | None
    pid: int
    request: ExecRequest


def run_exec(engine: Engine, text: str, request: ExecRequest) -> Attached:
    """Run a command in a container, and return its streams; its id is their `exec_id`.

    Raises ContainerError: `conflict` when the container does not run or is paused; with `exit_code` 126 or 127 when the
    command cannot be run.
    """
    return begin_exec(engine, text, request).attached()


def begin_exec(engine: Engine, text: str, request: ExecRequest) -> Begun:
    """Ask for what `run_exec` does, and do not wait until the command runs. Raises ContainerError as that does."""
    id, link = _link(engine, text)
    link.request("exec", **request._asdict())
    return Begun(id, link, request)


class Begun:
    """A second command that was asked for."""

    def __init__(self, id: str, link: Link, request: ExecRequest) -> None:
        self._id = id
        self._link = link
        self._request = request

    def attached(self) -> Attached:
        """Wait until it runs and return its streams. Raises ContainerError as `run_exec`."""
        try:
            said = self._link.answer()
        except BaseException as error:
            self._link.close()
            if isinstance(error, MonitorGone):
                raise not_running(self._id) from None
            raise
        return Attached(self._link, tty=self._request.tty, exec_id=said["exec"], pid=said["pid"])


def run_detached(engine: Engine, text: str, request: ExecRequest) -> str:
    """Start a command in a container, let it go on, and return its id. Raises ContainerError as `run_exec`."""
    id, link = _link(engine, text)
    try:
        found: str = _ask(link, id, "exec", detach=True, **request._asdict())["exec"]
        return found
    finally:
        link.close()


def create_exec(engine: Engine, text: str, request: ExecRequest) -> str:
    """Make an exec that `start_exec` starts, and return its id. Raises ContainerError as `run_exec`."""
    if not request.argv or not request.argv[0]:
        raise ContainerError("No exec command specified", kind="invalid", code="exec-command")
    id, link = _link(engine, text)
    try:
        found: str = _ask(link, id, "exec-create", **request._asdict())["exec"]
        return found
    finally:
        link.close()


def start_exec(
    engine: Engine, text: str, exec_id: str, *, detach: bool = False, rows: int = 0, columns: int = 0
) -> Attached | None:
    """Start an exec of a container once, and return its streams; None with `detach`.

    Raises ContainerError: `missing` for an unknown one, `conflict` when it was started before.
    """
    id, link = _link(engine, text)
    attached = None
    try:
        said = _ask(link, id, "exec-start", exec=exec_id, detach=detach, rows=rows, columns=columns)
        if not detach:
            attached = Attached(link, tty=said["tty"], exec_id=exec_id, pid=said["pid"])
        return attached
    finally:
        if attached is None:
            link.close()


def inspect_exec(engine: Engine, text: str, exec_id: str) -> ExecState:
    """Return what is known of an exec of a container. Raises ContainerError: `missing` for an unknown one."""
    id = engine.finder.identify(text)
    link = connect(engine.finder, id)
    try:
        found = _ended(engine, id, exec_id) if link is None else link.ask("exec-inspect", exec=exec_id)["found"]
    except MonitorGone:
        found = _ended(engine, id, exec_id)
    finally:
        if link is not None:
            link.close()
    names = ("user", "cwd", "tty", "privileged", "stdin", "stdout", "stderr", "detach_keys")
    request = ExecRequest(argv=tuple(found["argv"]), **{name: found[name] for name in names if found[name] is not None})
    known = {name: found[name] for name in ("id", "running", "begun", "exit_code", "pid")}
    return ExecState(container=id, request=request, **known)


def resize_exec(engine: Engine, text: str, exec_id: str, rows: int, columns: int) -> None:
    """Change the size of the terminal of an exec. Raises ContainerError."""
    id, link = _link(engine, text)
    try:
        _ask(link, id, "exec-resize", exec=exec_id, rows=rows, columns=columns)
    finally:
        link.close()


def _link(engine: Engine, text: str) -> tuple[str, Link]:
    id = engine.finder.identify(text)
    link = connect(engine.finder, id)
    if link is None:
        engine.home.state(id)  # mends it
        raise not_running(id)
    return id, link


def _ask(link: Link, id: str, op: str, **fields: Any) -> dict[str, Any]:
    try:
        return link.ask(op, **fields)
    except MonitorGone:
        raise not_running(id) from None


def _ended(engine: Engine, id: str, exec_id: str) -> dict[str, Any]:
    """Return what a monitor has left behind of an exec that ended not long ago. Raises ContainerError."""
    try:
        with open(f"{engine.finder.directory(id)}/execs.json", "rb") as file:
            execs = from_json(file.read())["execs"]
    except (OSError, ValueError):
        execs = []
    for found in execs:
        if found["id"] == exec_id and time.time() - found["ended_at"] < _KEPT_S:
            known: dict[str, Any] = found
            return known
    raise _unknown(exec_id)


def _unknown(exec_id: str) -> ContainerError:
    return ContainerError(f"No such exec instance: {exec_id}", kind="missing", code="no-exec")

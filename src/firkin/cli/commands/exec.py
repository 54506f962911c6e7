"""`firkin exec`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.attaching import MONITOR_DIED, check_terminal, exit_code_of, keys_of
from firkin.cli.containers.environment import environment_of
from firkin.cli.containers.options import EXEC
from firkin.cli.containers.session import Manner, Signals
from firkin.cli.docker_config import read_docker_config
from firkin.cli.engine import open_engine
from firkin.cli.terminal import terminal_size
from firkin.containers.exec import ExecRequest, run_detached, run_exec
from firkin.errors import UsageError

USAGE = "[OPTIONS] CONTAINER COMMAND [ARG...]"
ABOUT = (
    "Run a second command in a running container, with the container's user, directory and variables unless others "
    "are given. The exit code is the command's: 127 if it was not found, 126 if it cannot be run."
)
OPTIONS = EXEC
INTERSPERSED = False


def run(invocation: Invocation) -> int:
    """Run the command and, unless it is to go on alone, follow it. Raises ContainerError, UsageError."""
    arguments, ambient = invocation
    if len(arguments.operands) < 2:
        raise UsageError("`firkin exec` requires at least 2 arguments: the container and a command")
    container, *argv = arguments.operands
    detach, stdin, tty = (arguments.flag(dest) for dest in ("detach", "interactive", "tty"))
    if not detach:
        check_terminal(stdin=stdin, tty=tty)
    keys = arguments.text("detach_keys") or read_docker_config(ambient).detach_keys
    size = terminal_size(1)
    request = ExecRequest(
        argv=tuple(argv),
        env=environment_of(arguments, ambient, proxies={}),
        user=arguments.text("user"),
        cwd=arguments.text("workdir"),
        tty=tty,
        privileged=arguments.flag("privileged"),
        stdin=stdin and not detach,
        rows=size.rows,
        columns=size.columns,
        detach_keys=keys,
    )
    manner = Manner(stdin=request.stdin, keys=keys_of(keys, ""))
    engine = open_engine(invocation)
    if detach:
        run_detached(engine, container, request)
        return 0
    with Signals(proxy=False, tty=tty) as signals:
        code = exit_code_of(run_exec(engine, container, request), manner, signals)
    return MONITOR_DIED if code is None else code

"""`firkin exec`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.containers.options import EXEC
from firkin.cli.engine import open_engine
from firkin.containers.exec import ExecRequest, begin_exec, run_detached
from firkin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.ambient import Ambient
    from firkin.cli.arguments import Arguments
    from firkin.cli.command import Invocation

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
    container = arguments.operands[0]
    request = _request(arguments, ambient)
    engine = open_engine(invocation)
    if arguments.flag("detach"):
        run_detached(engine, container, request)
        return 0
    begun = begin_exec(engine, container, request)
    # The rest is loaded while the monitor starts the command.
    from firkin.cli.containers.attaching import MONITOR_DIED, exit_code_of, keys_of
    from firkin.cli.containers.session import Manner, Signals

    manner = Manner(stdin=request.stdin, keys=keys_of(request.detach_keys, "") if request.tty else b"")
    with Signals(proxy=False, tty=request.tty) as signals:
        code = exit_code_of(begun.attached(), manner, signals)
    return MONITOR_DIED if code is None else code


def _request(arguments: Arguments, ambient: Ambient) -> ExecRequest:
    """Return what the options ask for. Raises UsageError."""
    detach, stdin, tty = (arguments.flag(dest) for dest in ("detach", "interactive", "tty"))
    keys = arguments.text("detach_keys")
    rows = columns = 0
    if tty or keys:
        from firkin.cli.containers.attaching import check_terminal, keys_of
        from firkin.cli.containers.session import terminal_size
        from firkin.cli.docker_config import read_docker_config

        if not detach:
            check_terminal(stdin=stdin, tty=tty)
        keys = keys or read_docker_config(ambient).detach_keys
        keys_of(keys, "")  # or the command would run by then
        rows, columns = terminal_size(1)
    env: tuple[str, ...] = ()
    if arguments.given("env") or arguments.given("env_file"):
        from firkin.cli.containers.environment import environment_of

        env = environment_of(arguments, ambient, proxies={})
    return ExecRequest(
        argv=arguments.operands[1:], env=env, user=arguments.text("user"), cwd=arguments.text("workdir"), tty=tty,
        privileged=arguments.flag("privileged"), stdin=stdin and not detach, rows=rows, columns=columns,
        detach_keys=keys,
    )  # fmt: skip

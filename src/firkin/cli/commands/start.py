"""`firkin start`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.options import START
from firkin.cli.engine import open_engine
from firkin.cli.options import Option
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.containers.home.engine import Engine
from firkin.containers.start import start
from firkin.errors import FirkinError, UsageError

USAGE = "[OPTIONS] [CONTAINER...]"
ABOUT = (
    "Start containers that were made or have ended. With `-a` or `-i` one is attached, and the exit code is its "
    "command's. With `--restored`, which `firkin service install` has called at start, no names are given."
)
OPTIONS = (
    Option(
        ("--restored",), "restored", "flag", "those whose restart policies ask for it, after the machine was down",
        takes_value=False,
    ),
    *START,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Start each; what failed is told at the end. Raises FirkinError, UsageError."""
    arguments = invocation.arguments
    if arguments.flag("restored"):
        return _restored(invocation)
    if not arguments.operands:
        raise UsageError("`firkin start` requires at least 1 argument: the container")
    engine = open_engine(invocation)
    if arguments.flag("attach") or arguments.flag("interactive"):
        if len(arguments.operands) > 1:
            raise UsageError("you cannot start and attach multiple containers at once")
        return _attached(invocation, engine)

    def one(text: str) -> None:
        try:
            start(engine, text)
        except FirkinError as error:
            error.exit_code = 1  # 126 and 127 are of `run` alone
            raise
        write_out(f"{text}\n")

    each(arguments.operands, one)
    return 0


def _restored(invocation: Invocation) -> int:
    from firkin.containers.restore import Restored, restore

    arguments = invocation.arguments
    if arguments.operands or arguments.flag("attach") or arguments.flag("interactive"):
        raise UsageError("`firkin start --restored` takes no container and no other option")

    def one(restored: Restored) -> None:
        error = restored.error
        if error is not None:
            error.message = f"{restored.record.name}: {error.message}"
            error.exit_code = 1
            raise error
        write_out(f"{restored.record.name}\n")

    each(restore(open_engine(invocation)), one)
    return 0


def _attached(invocation: Invocation, engine: Engine) -> int:
    from firkin.cli.containers.attaching import MONITOR_DIED, check_terminal, exit_code_of, keys_of
    from firkin.cli.containers.session import Manner, Signals, terminal_size
    from firkin.cli.docker_config import read_docker_config
    from firkin.containers.link.attach import AttachTo

    arguments = invocation.arguments
    record = engine.home.find(arguments.operands[0])
    config = record.config
    stdin = arguments.flag("interactive") and config.open_stdin
    keys = keys_of(arguments.text("detach_keys"), read_docker_config(invocation.ambient).detach_keys)
    check_terminal(stdin=stdin, tty=config.tty)
    manner = Manner(stdin=stdin, keys=keys, proxy=not config.tty)
    with Signals(proxy=manner.proxy, tty=config.tty) as signals:
        until = "removed" if record.host_config.auto_remove else "exit"
        size = terminal_size(1)
        try:
            started = start(engine, record.id, attach=AttachTo(stdin, until=until, size=(size.rows, size.columns)))
        except FirkinError as error:
            error.exit_code = 1
            raise
        assert started.attached is not None
        code = exit_code_of(started.attached, manner, signals)
    return MONITOR_DIED if code is None else code

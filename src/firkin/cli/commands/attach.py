"""`firkin attach`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.attaching import MONITOR_DIED, check_terminal, exit_code_of, keys_of
from firkin.cli.containers.options import ATTACH
from firkin.cli.containers.session import Manner, Signals
from firkin.cli.docker_config import read_docker_config
from firkin.cli.engine import open_engine
from firkin.containers.documents.lifecycle import status_of
from firkin.containers.link.attach import AttachTo, attach
from firkin.errors import ContainerError, UsageError

USAGE = "[OPTIONS] CONTAINER"
ABOUT = (
    "Show what a running container writes from now on, and pass standard input and signals on to it. The exit code is "
    "its command's; whoever detaches (Ctrl-P Ctrl-Q on a terminal) leaves it running."
)
OPTIONS = ATTACH
_REFUSED = {
    "paused": "You cannot attach to a paused container, unpause it first",
    "restarting": "You cannot attach to a restarting container, wait until it is running",
}


def run(invocation: Invocation) -> int:
    """Attach until the command ends. Raises ContainerError, UsageError."""
    arguments = invocation.arguments
    if len(arguments.operands) != 1:
        raise UsageError("`firkin attach` requires 1 argument: the container")
    engine = open_engine(invocation)
    record = engine.home.find(arguments.operands[0])
    status = status_of(engine.home.state(record.id))
    if status != "running":
        message = _REFUSED.get(status, "You cannot attach to a stopped container, start it first")
        raise ContainerError(message, kind="conflict", code="attach")
    config = record.config
    stdin = config.open_stdin and not arguments.flag("no_stdin")
    check_terminal(stdin=not arguments.flag("no_stdin"), tty=config.tty)
    keys = keys_of(arguments.text("detach_keys"), read_docker_config(invocation.ambient).detach_keys)
    proxy = (not arguments.given("sig_proxy") or arguments.flag("sig_proxy")) and not config.tty
    until = "removed" if record.host_config.auto_remove else "exit"
    with Signals(proxy=proxy, tty=config.tty) as signals:
        attached = attach(engine, record.id, AttachTo(stdin, until=until))
        manner = Manner(stdin=stdin, keys=keys, proxy=proxy, redraw=True)
        code = exit_code_of(attached, manner, signals)
    return MONITOR_DIED if code is None else code

"""What `run` does once its monitor has been spawned. Does I/O. `cli.commands.run` only.

Mirrors: docker/cli cli/command/container/run.go.
"""

from __future__ import annotations

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.containers.attaching import MONITOR_DIED, check_terminal, exit_code_of, keys_of
from firkin.cli.containers.making import Wish, engine_errors, make
from firkin.cli.containers.session import Manner, Signals, terminal_size
from firkin.cli.engine import open_engine
from firkin.cli.run import write_out
from firkin.containers.documents.config import CreateRequest
from firkin.containers.home.engine import Engine
from firkin.containers.link.attach import AttachTo
from firkin.containers.link.monitoring import Nursling
from firkin.containers.start import Started, start
from firkin.errors import ContainerError, UsageError


def run_container(invocation: Invocation, nursling: Nursling) -> int:
    """Pull, make, start, attach, wait; return the exit code. Raises FirkinError, UsageError."""
    arguments = invocation.arguments
    wish = Wish(invocation, "run")
    request = wish.request
    keys = keys_of(arguments.text("detach_keys"), wish.docker.detach_keys)
    if arguments.flag("detach"):
        if arguments.given("attach"):
            raise UsageError("Conflicting options: -a and -d")
        request = _detached(request)
    else:
        check_terminal(stdin=request.config.attach_stdin, tty=request.config.tty)
    config = request.config
    proxy = not arguments.given("sig_proxy") or arguments.flag("sig_proxy")
    engine = open_engine(invocation)
    with engine_errors():
        if engine.backend().sandbox != "namespaces":
            from firkin.cli.containers.foreground import run_here

            return run_here(wish, engine, request, detach=arguments.flag("detach"))
        id = make(wish, engine, _sized(request))
        if not (config.attach_stdout or config.attach_stderr):
            write_out(f"{id}\n")
        if arguments.flag("detach"):
            start(engine, id, spawned=nursling)
            return 0
        with Signals(proxy=proxy, tty=config.tty) as signals:
            started = _start(engine, id, request, nursling)
            manner = Manner(
                stdin=config.attach_stdin, output=config.attach_stdout or config.attach_stderr, keys=keys, proxy=proxy
            )
            assert started.attached is not None
            code = exit_code_of(started.attached, manner, signals)
    return _recorded(engine, id) if code is None else code


def _start(engine: Engine, id: str, request: CreateRequest, nursling: Nursling) -> Started:
    config = request.config
    until = "removed" if request.host_config.auto_remove else "exit"
    to = AttachTo(config.attach_stdin, config.attach_stdout, config.attach_stderr, until)
    return start(engine, id, attach=to, spawned=nursling)


def _detached(request: CreateRequest) -> CreateRequest:
    config = msgspec.structs.replace(
        request.config, attach_stdin=False, attach_stdout=False, attach_stderr=False, stdin_once=False
    )
    return msgspec.structs.replace(request, config=config)


def _sized(request: CreateRequest) -> CreateRequest:
    """Add the terminal's size, which the command's terminal then has from the first moment."""
    host = msgspec.structs.replace(request.host_config, console_size=tuple(terminal_size(1)))
    return msgspec.structs.replace(request, host_config=host)


def _recorded(engine: Engine, id: str) -> int:
    """Return the exit code as it was recorded after the monitor died."""
    try:
        return engine.home.state(id).exit_code
    except ContainerError:
        return MONITOR_DIED  # removed

"""`firkin run` where nothing can be mounted or unshared: this process stands beside the command. Does I/O."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from firkin.cli.containers.making import Wish, make
from firkin.cli.containers.session import write_all
from firkin.cli.run import handle, write_message
from firkin.containers.foreground import check_foreground, run_foreground

if TYPE_CHECKING:
    from firkin.containers.documents.config import CreateRequest
    from firkin.containers.home.engine import Engine


def run_here(wish: Wish, engine: Engine, request: CreateRequest, *, detach: bool) -> int:
    """Make a container, run it to its end, and return its exit code; a signal that ends us ends it first.

    Raises ContainerError for what a container cannot have here.
    """
    for warning in check_foreground(request.config, request.host_config, detached=detach, policy=request.limits):
        write_message(f"WARNING: {warning}\n")
    id = make(wish, engine, request)
    came: list[int] = []
    stop, tell = os.pipe()

    def heard(number: int, frame: object) -> None:
        came.append(number)
        os.write(tell, b".")

    handle(heard)
    config = request.config
    code = run_foreground(
        engine, id, stdin=0 if config.attach_stdin else None, cancel_fd=stop,
        on_output=lambda data: write_all(1, data) if config.attach_stdout else None,
        on_error=lambda data: write_all(2, data) if config.attach_stderr else None,
    )  # fmt: skip
    return 128 + came[0] if came and code == 128 + signal.SIGKILL else code

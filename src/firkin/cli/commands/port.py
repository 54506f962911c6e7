"""`firkin port`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/port.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.containers.documents.networks import published
from firkin.errors import UsageError
from firkin.text import whole_number

USAGE = "[OPTIONS] CONTAINER [PORT[/PROTOCOL]]"
ABOUT = "List where ports of a container are published on this machine, or where one of them is."
OPTIONS = COMMON
_LARGEST_PORT = 65535


def run(invocation: Invocation) -> int:
    """Print a line for each place. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not 1 <= len(arguments.operands) <= 2:
        raise UsageError("`firkin port` takes a container and a port")
    container, *ports = arguments.operands
    engine = open_engine(invocation)
    record = engine.home.find(container)
    places = published(record, engine.home.state(record.id))
    if not ports:
        lines = [f"{port} -> {place}" for port in places for place in places[port]]
    else:
        number, _, protocol = ports[0].partition("/")
        if whole_number(number, _LARGEST_PORT) is None:
            raise UsageError(f"invalid port ({number})", hints=("it is a number, e.g. `80` or `53/udp`",))
        lines = list(places.get(f"{number}/{protocol or 'tcp'}", ()))
        if not lines:
            raise UsageError(f"No public port '{ports[0]}' published for {container}")
    write_out("".join(f"{line}\n" for line in lines))
    return 0

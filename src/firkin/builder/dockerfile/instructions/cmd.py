"""CMD: the command of a container, or the arguments of its ENTRYPOINT. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.gotext import quote_list
from firkin.builder.dockerfile.instructions.commandline import CommandLine, check_command, parse_command_line
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction


class Cmd(Instruction, frozen=True):
    """CMD in shell or exec form."""

    command: CommandLine


def parse(raw: RawInstruction) -> Cmd:
    """Parse CMD; raises DockerfileError."""
    parse_flags(raw)
    return Cmd(raw, parse_command_line(raw.rest, raw.span))


def lower(node: Cmd, state: StageState, context: LowerContext) -> None:
    """Set the command; the last CMD wins."""
    check_command(node.raw, node.command, state.cmd_span, state, context)
    state.cmd_span = node.span
    state.cmd = node.command.resolved(state)
    state.args_escaped = True
    state.record(f"CMD {quote_list(state.cmd)}")

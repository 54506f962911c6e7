"""CMD: what a container runs, or the arguments of its ENTRYPOINT. Pure."""

from __future__ import annotations

from firkin.dockerfile.flags import parse_flags
from firkin.dockerfile.gotext import quote_list
from firkin.dockerfile.instructions.commandline import CommandLine, parse_command_line
from firkin.dockerfile.lines import RawInstruction
from firkin.dockerfile.state import LowerContext, StageState
from firkin.dockerfile.syntax import Instruction


class Cmd(Instruction, frozen=True):
    """CMD in shell or exec form."""

    command: CommandLine


def parse(raw: RawInstruction) -> Cmd:
    """Parse CMD; raises DockerfileError."""
    parse_flags(raw)
    return Cmd(raw, parse_command_line(raw.rest, raw.span))


def lower(node: Cmd, state: StageState, context: LowerContext) -> None:
    """Set the command; the last CMD wins."""
    if state.cmd_span is not None:
        context.warn(
            "MultipleInstructionsDisallowed",
            f"Multiple {node.raw.original_keyword} instructions should not be used in the same stage "
            "because only the last one will be used",
            state.cmd_span,
        )
    if not node.command.exec_form and not state.shell:
        context.warn(
            "JSONArgsRecommended",
            f"JSON arguments recommended for {node.raw.original_keyword} to prevent unintended behavior "
            "related to OS signals",
            node.span,
        )
    state.cmd_span = node.span
    state.cmd = node.command.resolved(state)
    state.args_escaped = True
    state.record(f"CMD {quote_list(state.cmd)}")

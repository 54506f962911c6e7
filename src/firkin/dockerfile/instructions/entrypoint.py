"""ENTRYPOINT: what a container runs before CMD's words. Pure."""

from __future__ import annotations

from firkin.dockerfile.flags import parse_flags
from firkin.dockerfile.gotext import quote_list
from firkin.dockerfile.instructions.commandline import CommandLine, parse_command_line
from firkin.dockerfile.lines import RawInstruction
from firkin.dockerfile.state import LowerContext, StageState
from firkin.dockerfile.syntax import Instruction


class Entrypoint(Instruction, frozen=True):
    """ENTRYPOINT in shell or exec form."""

    command: CommandLine


def parse(raw: RawInstruction) -> Entrypoint:
    """Parse ENTRYPOINT; raises DockerfileError."""
    parse_flags(raw)
    return Entrypoint(raw, parse_command_line(raw.rest, raw.span))


def lower(node: Entrypoint, state: StageState, context: LowerContext) -> None:
    """Set the entrypoint; an inherited CMD goes, one of this very stage stays."""
    if state.entrypoint_span is not None:
        context.warn(
            "MultipleInstructionsDisallowed",
            f"Multiple {node.raw.original_keyword} instructions should not be used in the same stage "
            "because only the last one will be used",
            state.entrypoint_span,
        )
    if not node.command.exec_form and not state.shell:
        context.warn(
            "JSONArgsRecommended",
            f"JSON arguments recommended for {node.raw.original_keyword} to prevent unintended behavior "
            "related to OS signals",
            node.span,
        )
    state.entrypoint_span = node.span
    words = node.command.resolved(state)
    state.entrypoint = words or None
    if state.cmd_span is None:
        state.cmd = None
    state.record(f"ENTRYPOINT {quote_list(words)}")

"""Command lines in shell form and exec form, for RUN, CMD, ENTRYPOINT, SHELL and HEALTHCHECK. Pure.

Mirrors: buildkit parser parseMaybeJSON and instructions parseShellDependentCommand.
"""

from __future__ import annotations

import msgspec

from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import DEFAULT_SHELL, LowerContext, StageState
from firkin.builder.dockerfile.words import split_json_array, split_whitespace
from firkin.errors import DockerfileError
from firkin.source import Span


class CommandLine(msgspec.Struct, frozen=True):
    """The words of a command: those of a JSON array (`exec_form`), or at most one text for the shell."""

    words: tuple[str, ...]
    exec_form: bool

    def resolved(self, state: StageState) -> tuple[str, ...]:
        """Return argv: the words, in shell form with the stage's shell before them."""
        return self.words if self.exec_form else with_shell(state, self.words)


def with_shell(state: StageState, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return argv that runs the joined words in the stage's shell."""
    return (*(state.shell or DEFAULT_SHELL), " ".join(words))


def parse_json_words(text: str, span: Span) -> tuple[str, ...] | None:
    """Return the words of a JSON array, None if the text is not one; raises DockerfileError at `span`."""
    try:
        return split_json_array(text)
    except ValueError as error:
        raise DockerfileError(str(error), span=span) from None


def parse_command_line(text: str, span: Span) -> CommandLine:
    """Read a command line; raises DockerfileError for a JSON array with other values than strings."""
    words = parse_json_words(text, span)
    if words is not None:
        return CommandLine(words, exec_form=True)
    return CommandLine((text,) if text else (), exec_form=False)


def parse_list(text: str, span: Span) -> tuple[str, ...]:
    """Read words from a JSON array, or else words separated by blanks (COPY, ADD, VOLUME)."""
    words = parse_json_words(text, span)
    return split_whitespace(text) if words is None else words


def check_command(
    raw: RawInstruction, command: CommandLine, earlier: Span | None, state: StageState, context: LowerContext
) -> None:
    """Warn of a CMD or ENTRYPOINT that overrides an earlier one of its stage, or that is in shell form."""
    if earlier is not None:
        context.warn(
            "MultipleInstructionsDisallowed",
            f"Multiple {raw.original_keyword} instructions should not be used in the same stage "
            "because only the last one will be used",
            earlier,
        )
    if not command.exec_form and not state.shell:
        context.warn(
            "JSONArgsRecommended",
            f"JSON arguments recommended for {raw.original_keyword} to prevent unintended behavior "
            "related to OS signals",
            raw.span,
        )

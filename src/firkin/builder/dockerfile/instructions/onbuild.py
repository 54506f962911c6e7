"""ONBUILD: an instruction for images that are built from this one. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.lines import RawInstruction, split_command
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.dockerfile.words import BLANKS, split_blanks, split_json_array, split_name_values
from firkin.errors import DockerfileError

_JSON_KEYWORDS = frozenset(("add", "cmd", "copy", "entrypoint", "run", "shell", "volume"))


class OnBuild(Instruction, frozen=True):
    """ONBUILD: the trigger as text, heredocs included."""

    trigger: str


def parse(raw: RawInstruction) -> OnBuild:
    """Parse `ONBUILD INSTRUCTION`; raises DockerfileError.

    The trigger's syntax is checked as far as BuildKit's parser does. Its meaning is checked
    when it runs, so an unknown keyword is recorded unchanged.
    """
    if not raw.rest:
        raise DockerfileError("ONBUILD requires at least one argument", span=raw.span)
    parse_flags(raw)
    keyword = split_blanks(raw.rest)[0].upper()
    if keyword == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", span=raw.span)
    if keyword in ("MAINTAINER", "FROM"):
        raise DockerfileError(f"{keyword} isn't allowed as an ONBUILD trigger", span=raw.span)
    _check_syntax(raw)
    # The text after the keyword is kept unchanged, with blanks at its end and a `--` that ended the flags.
    trigger = raw.text.lstrip(BLANKS)[len("ONBUILD") :].lstrip("\t\n\f\r ")
    heredocs = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in raw.heredocs)
    return OnBuild(raw, trigger + heredocs)


def _check_syntax(raw: RawInstruction) -> None:
    keyword, _, rest = split_command(raw.rest)
    keyword = keyword.lower()
    try:
        if keyword in ("env", "label"):
            split_name_values(rest, raw.escape, keyword.upper())
        elif keyword in _JSON_KEYWORDS:
            split_json_array(rest)
    except ValueError as error:
        raise DockerfileError(str(error), span=raw.span) from None


def lower(node: OnBuild, state: StageState, context: LowerContext) -> None:
    """Store the trigger in the image; it adds no line to the history."""
    state.on_build.append(node.trigger)

"""FROM: the base of a stage. `lower.py` applies it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from firkin.builder.dockerfile.flags import FlagSpec, parse_flags
from firkin.builder.dockerfile.instructions.env import comment_hint
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import From
from firkin.builder.dockerfile.words import quote, split_whitespace
from firkin.errors import DockerfileError

_FLAGS = (FlagSpec("platform"),)
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz")
_NAME = _FIRST | frozenset("0123456789-_.")


def parse(raw: RawInstruction) -> From:
    """Parse `FROM [--platform=P] IMAGE [AS NAME]`; raises DockerfileError."""
    words = split_whitespace(raw.rest)
    name = written_name = ""
    if len(words) == 3 and words[1].lower() == "as":
        written_name = words[2]
        name = written_name.lower()
        if name[0] not in _FIRST or not _NAME.issuperset(name):
            raise DockerfileError(
                f"invalid name for build stage: {quote(written_name)}, "
                "name can't start with a number or contain symbols",
                span=raw.span,
            )
    elif len(words) != 1:
        hints = comment_hint(raw) or ("write `FROM IMAGE` or `FROM IMAGE AS NAME`",)
        raise DockerfileError("FROM requires either one or three arguments", hints=hints, span=raw.span)
    flags = parse_flags(raw, _FLAGS)
    return From(raw, words[0], name, flags.text("platform"), written_name=written_name)


def casing(raw: RawInstruction) -> Iterator[tuple[str, str]]:
    """Yield (rule, message) of the build checks about the case of words, even if FROM is invalid."""
    words = split_whitespace(raw.rest)
    if len(words) != 3:
        return
    keyword, (_, word, name) = raw.original_keyword, words
    if name != name.lower():
        yield "StageNameCasing", f"Stage name '{name}' should be lowercase"
    # ConsistentInstructionCasing reports a keyword in mixed case.
    if (keyword == keyword.lower() and word != word.lower()) or (keyword == keyword.upper() and word != word.upper()):
        yield "FromAsCasing", f"'{word}' and '{keyword}' keywords' casing do not match"


def lower(node: From, state: StageState, context: LowerContext) -> None:
    """Refuse FROM inside a stage, which only an ONBUILD trigger could have. Raises DockerfileError."""
    raise DockerfileError("FROM isn't allowed as an ONBUILD trigger", span=node.span)

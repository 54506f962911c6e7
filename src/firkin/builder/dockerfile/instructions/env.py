"""ENV: variables that the image keeps. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.rules import is_secret_name
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.dockerfile.words import NameValue, NameValues, quote, split_blanks, split_name_values
from firkin.errors import DockerfileError


class Env(Instruction, frozen=True):
    """ENV: pairs unexpanded, in order; `legacy`: written `NAME VALUE`."""

    pairs: tuple[NameValue, ...]
    legacy: bool = False


def parse(raw: RawInstruction) -> Env:
    """Parse `ENV NAME=VALUE...` or `ENV NAME VALUE`; raises DockerfileError."""
    parse_flags(raw)
    found = parse_pairs(raw, "ENV")
    return Env(raw, found.pairs, found.legacy)


def parse_pairs(raw: RawInstruction, keyword: str) -> NameValues:
    """Split the pairs of ENV or LABEL and check their names; raises DockerfileError."""
    try:
        found = split_name_values(raw.rest, raw.escape, keyword)
    except ValueError as error:
        hints = ("write `NAME=VALUE`, with quotes around a value that has blanks: `NAME=\"two words\"`",)
        raise DockerfileError(str(error), hints=comment_hint(raw) or hints, span=raw.span) from None
    if not found.pairs:
        raise DockerfileError(f"{keyword} requires at least one argument", span=raw.span)
    if not all(pair.name for pair in found.pairs):
        raise DockerfileError(f"{keyword} names can not be blank", span=raw.span)
    return found


def comment_hint(raw: RawInstruction) -> tuple[str, ...]:
    """Return a hint if the line seems to end in a comment."""
    meant = any(word.startswith("#") for word in split_blanks(raw.rest)[1:])
    return ("a comment needs a line of its own: `#` within an instruction is part of it",) if meant else ()


def warn_legacy(raw: RawInstruction, legacy: bool, context: LowerContext) -> None:
    """Warn of ENV or LABEL written `NAME VALUE`."""
    if legacy:
        word = raw.original_keyword
        message = f'"{word} key=value" should be used instead of legacy "{word} key value" format'
        context.warn("LegacyKeyValueFormat", message, raw.span)


def warn_secret(name: str, raw: RawInstruction, context: LowerContext) -> None:
    """Warn of a variable whose name suggests a secret. Mirrors: validateNoSecretKey."""
    if is_secret_name(name):
        message = f"Do not use ARG or ENV instructions for sensitive data ({raw.keyword.upper()} {quote(name)})"
        context.warn("SecretsUsedInArgOrEnv", message, raw.span)


def lower(node: Env, state: StageState, context: LowerContext) -> None:
    """Set the variables; all values are expanded with the variables set before the instruction."""
    pairs = [
        (state.expand(pair.name, node.span, context), state.expand(pair.value, node.span, context))
        for pair in node.pairs
    ]
    warn_legacy(node.raw, node.legacy, context)
    for name, value in pairs:
        warn_secret(name, node.raw, context)
        state.set_variable(name, value)
        state.set_image_variable(name, value)
    state.record(" ".join(["ENV", *(f"{name}={value}" for name, value in pairs)]))

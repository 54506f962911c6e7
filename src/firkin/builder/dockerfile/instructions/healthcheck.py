"""HEALTHCHECK: a command that tests whether the container works. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import Flags, FlagSpec, parse_flags
from firkin.builder.dockerfile.gotext import format_duration, parse_duration, plain_list
from firkin.builder.dockerfile.instructions.commandline import parse_command_line
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.dockerfile.words import quote
from firkin.errors import DockerfileError
from firkin.oci.config import Healthcheck
from firkin.source import Span

_FLAGS = tuple(map(FlagSpec, ("interval", "timeout", "start-period", "start-interval", "retries")))
_MINIMUM_NS = 1_000_000
_MAX_RETRIES = (1 << 31) - 1


class HealthCheck(Instruction, frozen=True):
    """HEALTHCHECK, with its value for the image."""

    check: Healthcheck


def parse(raw: RawInstruction) -> HealthCheck:
    """Parse `HEALTHCHECK NONE` or `HEALTHCHECK [FLAGS] CMD COMMAND`; raises DockerfileError."""
    words = raw.rest.split(None, 1)
    if not words:
        raise DockerfileError("HEALTHCHECK requires at least one argument", span=raw.span)
    kind = words[0].upper()
    rest = words[1] if len(words) == 2 else ""
    if kind == "NONE":
        if parse_command_line(rest, raw.span).words:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments", span=raw.span)
        return HealthCheck(raw, Healthcheck(test=("NONE",)))
    flags = parse_flags(raw, _FLAGS)
    if kind != "CMD":
        raise DockerfileError(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)", span=raw.span)
    command = parse_command_line(rest, raw.span)
    if not command.words:
        raise DockerfileError("Missing command after HEALTHCHECK CMD", span=raw.span)
    return HealthCheck(
        raw,
        Healthcheck(
            test=("CMD" if command.exec_form else "CMD-SHELL", *command.words),
            interval_ns=_interval(flags, "interval", raw.span),
            timeout_ns=_interval(flags, "timeout", raw.span),
            start_period_ns=_interval(flags, "start-period", raw.span),
            start_interval_ns=_interval(flags, "start-interval", raw.span),
            retries=_retries(flags.text("retries"), raw.span),
        ),
    )


def _interval(flags: Flags, name: str, span: Span) -> int:
    text = flags.text(name)
    if not text:
        return 0
    try:
        value = parse_duration(text)
    except ValueError as error:
        hints = ("a duration has units: `30s`, `1m30s`, `500ms`",)
        raise DockerfileError(f"invalid --{name}: {error}", hints=hints, span=span) from None
    if value and value < _MINIMUM_NS:
        raise DockerfileError(f"Interval {quote(name)} cannot be less than 1ms", span=span)
    return value


def _retries(text: str, span: Span) -> int:
    if not text:
        return 0
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20 or int(digits) > _MAX_RETRIES:
        raise DockerfileError(f"invalid --retries: {quote(text)} is not a number", span=span)
    if text.startswith("-") and int(digits):
        raise DockerfileError(f"--retries cannot be negative ({text})", span=span)
    return int(digits)


def lower(node: HealthCheck, state: StageState, context: LowerContext) -> None:
    """Set the check as a whole; the last HEALTHCHECK wins."""
    if state.healthcheck_span is not None:
        context.warn(
            "MultipleInstructionsDisallowed",
            f"Multiple {node.raw.original_keyword} instructions should not be used in the same stage "
            "because only the last one will be used",
            state.healthcheck_span,
        )
    state.healthcheck_span = node.span
    check = state.healthcheck = node.check
    times = {
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
    }
    shown = " ".join(f"{name}:{format_duration(time)}" for name, time in times.items())
    # Go's %+v of the structure
    state.record(f"HEALTHCHECK {{Test:{plain_list(check.test)} {shown} Retries:{check.retries}}}")

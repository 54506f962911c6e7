"""STOPSIGNAL: the signal that stops the container. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.errors import DockerfileError
from firkin.text import nearest

_NAMES = frozenset(
    (
        "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS "
        "TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX"
    ).split()
    + [f"RTMIN+{number}" for number in range(1, 16)]
    + [f"RTMAX-{number}" for number in range(1, 15)]
)  # of Linux; mirrors: moby/sys/signal


class StopSignal(Instruction, frozen=True):
    """STOPSIGNAL: name or number, unexpanded."""

    signal: str


def parse(raw: RawInstruction) -> StopSignal:
    """Parse `STOPSIGNAL SIGNAL`; raises DockerfileError."""
    if not raw.rest:
        raise DockerfileError("STOPSIGNAL requires exactly one argument", span=raw.span)
    return StopSignal(raw, raw.rest)


def lower(node: StopSignal, state: StageState, context: LowerContext) -> None:
    """Set the signal, which must be one of Linux; its spelling is kept. Raises DockerfileError."""
    signal = state.expand(node.signal, node.span, context)
    if not _is_signal(signal):
        match = nearest(signal.upper(), (f"SIG{name}" for name in _NAMES))
        raise DockerfileError(
            f"invalid signal: {signal}",
            hints=(f"did you mean `{match}`?",) if match else (),
            span=node.span,
        )
    state.stop_signal = signal
    state.record(f"STOPSIGNAL {signal}")


def _is_signal(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if digits.isascii() and digits.isdigit():
        number = digits.lstrip("0")
        return 0 < len(number) < 19  # a Go int, other than 0
    return text.upper().removeprefix("SIG") in _NAMES

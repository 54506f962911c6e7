"""Names and numbers of signals. Pure. The numbers are those of x86-64 and arm64, which are the same.

Mirrors: moby/sys signal.ParseSignal and SignalMap.
"""

from __future__ import annotations

from firkin.errors import ContainerError
from firkin.text import whole_number

# In the order of their numbers, from 1 on.
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_RTMIN, _RTMAX = 34, 64
NUMBERS = {
    **{name: number for number, name in enumerate(_NAMES, 1)},
    "IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31,
    "RTMIN": _RTMIN, **{f"RTMIN+{step}": _RTMIN + step for step in range(1, 16)},
    "RTMAX": _RTMAX, **{f"RTMAX-{step}": _RTMAX - step for step in range(1, 15)},
}  # fmt: skip


def parse_signal(text: str) -> int:
    """Return the number of `TERM`, `SIGTERM`, `sigterm`, `rtmin+3` or `15`. Raises ContainerError (invalid)."""
    number = whole_number(text, _RTMAX)
    if number is None:
        number = NUMBERS.get(text.upper().removeprefix("SIG"), 0)
    if number == 0:
        raise ContainerError(f"invalid signal: {text}", kind="invalid", code="signal")
    return number

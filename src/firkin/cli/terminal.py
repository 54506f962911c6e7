"""The terminal of a command that is attached: raw mode and the keys that detach. Does I/O. `cli` only.

Mirrors: moby/term (MakeRaw, ToBytes, NewEscapeProxy).
"""

from __future__ import annotations

import os
import termios

from firkin.cli.containers.values import wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import TracebackType
else:
    import _signal as signal  # `signal` itself takes 3 ms to load

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # ctrl-@ is byte 0
_INPUT = (
    termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR | termios.ICRNL
    | termios.IXON
)  # fmt: skip
_LOCAL = termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN


class RawTerminal:
    """Passes every key on as it is during a block, if standard input is a terminal. Restores it in every case."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._before: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> RawTerminal:
        if os.isatty(self._descriptor):
            self._before = termios.tcgetattr(self._descriptor)
            termios.tcsetattr(self._descriptor, termios.TCSANOW, _raw(termios.tcgetattr(self._descriptor)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            return
        # In the background the kernel would stop whoever changes the terminal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)
        except termios.error:
            pass  # it is gone
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _raw(modes: list[int | list[bytes | int]]) -> list[int | list[bytes | int]]:
    input, output, control, local, in_speed, out_speed, characters = modes
    assert isinstance(input, int) and isinstance(output, int) and isinstance(control, int) and isinstance(local, int)
    assert isinstance(characters, list)
    characters = [*characters]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    control = control & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    return [input & ~_INPUT, output & ~termios.OPOST, control, local & ~_LOCAL, in_speed, out_speed, characters]


def parse_keys(text: str) -> bytes:
    """Return the bytes of `ctrl-p,ctrl-q` or `a,b`. Raises UsageError."""
    found = bytearray()
    for key in text.split(","):
        if len(key) == 6 and key.startswith("ctrl-") and key[5] in _CONTROL:
            found.append(_CONTROL.index(key[5]))
        elif key == "DEL":
            found.append(127)
        elif len(key) == 1 and key.isascii():
            found += key.encode()
        else:
            raise wrong(f"Invalid detach keys ({text}) provided", f"e.g. `{DEFAULT_KEYS}` or `ctrl-a,d`")
    return bytes(found)


class DetachKeys:
    """Finds the keys that detach in what is typed. They are kept back until others follow."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._seen = 0

    def pass_on(self, data: bytes) -> tuple[bytes, bool]:
        """Return what the command gets of the next bytes, and whether the keys are complete."""
        if not self._seen and self._keys[0] not in data:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte != self._keys[self._seen]:
                passed += self._keys[: self._seen]
                self._seen = 0
                if byte != self._keys[0]:
                    passed.append(byte)
                    continue
            self._seen += 1
            if self._seen == len(self._keys):
                return bytes(passed), True
        return bytes(passed), False

"""Attached commands of `run`, `start`, `attach` and `exec`: what they check, their exit code. Does I/O. `cli` only."""

from __future__ import annotations

import os

from firkin.cli.containers.session import Detached, follow
from firkin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.cli.containers.session import Manner, Signals
    from firkin.containers.link.attach import Attached

MONITOR_DIED = 255
"""The exit code of a command whose monitor died, and it with it."""
DEFAULT_KEYS = b"\x10\x11"
"""`ctrl-p,ctrl-q`, docker's keys that detach."""


def check_terminal(*, stdin: bool, tty: bool) -> None:
    """Raise UsageError if a terminal is wanted and standard input is none. Mirrors: docker/cli streams.CheckTty."""
    if stdin and tty and not os.isatty(0):
        raise UsageError("the input device is not a TTY", hints=("without `-t` input may be a pipe or a file",))


def keys_of(given: str, configured: str) -> bytes:
    """Return the keys that detach: of the option, of docker's config.json, or docker's own. Raises UsageError."""
    if not (given or configured):
        return DEFAULT_KEYS
    from firkin.cli.terminal import parse_keys

    return parse_keys(given or configured)


def exit_code_of(attached: Attached, manner: Manner, signals: Signals) -> int | None:
    """Follow a command and return its exit code: 0 for who detached, None if the connection broke."""
    try:
        end = follow(attached, manner, signals)
    except Detached:
        return 0
    finally:
        attached.close()
    if end is None:
        return None if manner.output else 0
    return end.status

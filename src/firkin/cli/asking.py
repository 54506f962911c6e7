"""Asks the user before something is removed. Does I/O. `cli.commands` only."""

from __future__ import annotations

import sys

from firkin.cli.run import write_out

_LONGEST = 1 << 10


def confirmed(warning: str, gap: str = "\n") -> bool:
    """Ask on standard output and read a line: only `y` agrees. Mirrors: docker/cli prompt.Confirm."""
    write_out(f"{warning}{gap}Are you sure you want to continue? [y/N] ")
    try:
        answer = sys.stdin.readline(_LONGEST) if sys.stdin is not None else ""
    except (OSError, ValueError):
        answer = ""
    return answer.strip().lower() == "y"

"""Texts of times, and how long a restart waits. Pure.

A part of the stand-alone program `monitor`; all parts share its global names.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False

ZERO_TIME = "0001-01-01T00:00:00Z"
FIRST_WAIT_S, LONGEST_WAIT_S, LONG_RUN_S = 0.1, 60.0, 10.0

second_text = (0, "")


def time_text(ns: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339 with nine digits, as logs have them."""
    global second_text
    second, rest = divmod(ns, 1_000_000_000)
    if second_text[0] != second:
        second_text = (second, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)))
    return f"{second_text[1]}{rest:09d}Z"


def short_time_text(ns: int) -> str:
    """Return the same without zeros at the end, as Go's RFC3339Nano."""
    return time_text(ns)[:-1].rstrip("0").rstrip(".") + "Z"


def next_wait(last_s: float, ran_s: float) -> float:
    """Return how long a restart waits (seconds), from the last wait (0: none) and how long the command ran.

    Mirrors: moby restartmanager.
    """
    if ran_s >= LONG_RUN_S or not last_s:
        return FIRST_WAIT_S
    return min(2 * last_s, LONGEST_WAIT_S)


def wants_restart(name: str, most: int, exit_code: int, retries: int, by_hand: bool) -> bool:
    """Say whether the policy starts a container again that ended by itself (`lifecycle.restarts`)."""
    if name == "always":
        return True
    if name == "unless-stopped":
        return not by_hand
    return name == "on-failure" and exit_code != 0 and (most == 0 or retries < most)

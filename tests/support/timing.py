"""Time limits that also hold on a busy machine."""

import time
from collections.abc import Callable


def seconds(action: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> float:
    """Return how many seconds an action takes."""
    start = clock()
    action()
    return clock() - start


def quickest(measure: Callable[[], float], limit_s: float) -> float:
    """Return the least of up to three measurements; stops at the first one below the limit."""
    least = measure()
    for _ in range(2):
        if least < limit_s:
            break
        least = min(least, measure())
    return least

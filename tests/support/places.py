"""Where the tests keep files that outlive a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"


def cache_directory() -> Path:
    """Return the directory for files that are slow to make: $FIRKIN_TEST_CACHE, or one in the user's cache."""
    chosen = os.environ.get("FIRKIN_TEST_CACHE")
    if chosen:
        place = Path(chosen)
    else:
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "firkin-tests"
    place.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, so that parallel test processes make each file once."""
    with open(path, "w") as handle:
        flock(handle, LOCK_EX)
        yield

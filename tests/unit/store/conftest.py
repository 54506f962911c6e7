"""A store whose clock stands still until a test moves it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firkin.store.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 10_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store(str(tmp_path / "store"), clock) as opened:
        yield opened

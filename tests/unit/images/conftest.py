"""A store and a registry for each test of an operation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "store"), lambda: 1000.0) as opened:
        yield opened


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as started:
        yield started

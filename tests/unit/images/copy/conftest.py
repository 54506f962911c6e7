"""A second registry, and a copy between any two places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.copies import Copier

from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Iterator[Copier]:
    with ExitStack() as stack:
        yield Copier(store, tmp_path, stack)


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    with FakeRegistry() as started:
        yield started

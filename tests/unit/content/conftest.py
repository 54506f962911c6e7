"""A store, a registry, and builds over both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pulled import Builds, Registry

from firkin.store.store import Store


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "store"), lambda: 1e6) as opened:
        yield opened


@pytest.fixture
def work(store: Store, registry: Registry) -> Iterator[Builds]:
    """Return what begins another build on the same store."""
    builds = Builds(store, registry)
    yield builds
    builds.close()

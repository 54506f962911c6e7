"""Two git servers on loopback, and what fetching from them needs."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from support.git_server import Server, serving

from firkin.builder.context.git import GitTools
from firkin.registry.settings import RegistrySettings


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serving()


@pytest.fixture
def other() -> Iterator[Server]:
    yield from serving()


@pytest.fixture
def tools(tmp_path: Path) -> GitTools:
    """Without credentials and further attempts; the scratch places are below `tmp_path`."""
    numbers = count()
    scratch: Callable[[str], str] = lambda name: str(tmp_path / f"{name}{next(numbers)}")  # noqa: E731
    return GitTools(RegistrySettings(retries=0), scratch, {}, {})

"""Sessions on one store and one registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from firkin.events import Event
from firkin.images.explore.session import Session
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

Open = Callable[..., Session]


@pytest.fixture
def begin(store: Store) -> Iterator[Open]:
    """Return what begins a session, as a new process would."""
    with ExitStack() as stack:

        def open_session(limits: UnpackLimits = UNPACK_LIMITS, events: list[Event] | None = None) -> Session:
            client = stack.enter_context(RegistryClient(RegistrySettings(retries=0)))
            heard = [] if events is None else events
            made = Session(store, lambda: client, heard.append, Cancel(), lambda: 1e6, parallel=2, limits=limits)
            return stack.enter_context(made)

        yield open_session

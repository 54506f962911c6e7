"""The Python API for asyncio: a thin adapter over the thread API. Does I/O. Loaded with `firkin.build_async` only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import ParamSpec

from firkin.api import keywords
from firkin.api.builds import StopSign, build
from firkin.builder.request import BuildResult
from firkin.errors import FirkinError, UsageError
from firkin.events import Event

P = ParamSpec("P")


def _adapt(call: Callable[P, BuildResult]) -> Callable[P, Coroutine[None, None, BuildResult]]:
    """Return a coroutine function with the arguments of `call`, which runs in a thread of the loop's executor."""

    async def adapted(*args: P.args, **kwargs: P.kwargs) -> BuildResult:
        """Build as `firkin.build` does, with the same arguments, result and errors, and leave the event loop free.

        `on_event` is called in the event loop's thread; an exception in it stops the build and reaches the caller. A
        task that is cancelled stops the build; it ends (CancelledError) when nothing of the build runs any more.
        """
        stop = threading.Event()
        inbox = _Inbox(asyncio.get_running_loop(), kwargs.get("on_event"), stop)
        also = kwargs.get("cancel")
        keywords.check_cancel("cancel", also)
        kwargs["cancel"] = _Either(stop, also) if also is not None else stop
        kwargs["on_event"] = inbox.post if inbox.on_event is not None else None
        work = asyncio.ensure_future(asyncio.to_thread(partial(call, *args, **kwargs)))
        try:
            result = await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait((work,))
            raise
        except FirkinError:
            inbox.check()
            raise
        inbox.check()
        return result

    return adapted


class _Inbox:
    """Hands the events of a build's thread to a function in the event loop's thread, in their order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_event: object, stop: threading.Event) -> None:
        if asyncio.iscoroutinefunction(on_event):
            raise UsageError("`on_event` is a coroutine function", hints=("hand over a plain function",))
        self._loop = loop
        self._stop = stop
        self.on_event = keywords.optional(keywords.listener, "on_event", on_event)
        self.error: BaseException | None = None

    def post(self, event: Event) -> None:
        """Queue an event; called in the build's thread."""
        self._loop.call_soon_threadsafe(self._deliver, event)

    def _deliver(self, event: Event) -> None:
        if self.on_event is None or self.error is not None:
            return
        try:
            self.on_event(event)
        except BaseException as error:  # raised to the caller who awaits the build  # noqa: BLE001
            self.error = error
            self._stop.set()

    def check(self) -> None:
        """Raise what the function raised."""
        if self.error is not None:
            raise self.error


class _Either:
    """Is set as soon as one of two stop signs is."""

    def __init__(self, own: StopSign, other: object) -> None:
        self._own = own
        self._other = other

    def is_set(self) -> bool:
        """Tell whether the build is to stop."""
        return self._own.is_set() or bool(getattr(self._other, "is_set")())  # noqa: B009


build_async = _adapt(build)

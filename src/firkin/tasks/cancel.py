"""Stopping a build from another thread or a signal handler. Pure."""

from __future__ import annotations

from collections.abc import Callable

from firkin.errors import Cancelled


class Cancel:
    """A flag that is set once and can be read everywhere. Callbacks run in the thread that sets it and must not block.

    It has no locks on purpose: a signal handler may set it while the same thread is registering a
    callback (list operations are atomic).
    """

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []
        self.signal = 0

    def __call__(self) -> bool:
        return self.signal != 0

    def set(self, signal: int = 2) -> None:
        """Ask everything to stop; `signal` decides the exit code (128 + signal)."""
        if not self.signal:
            self.signal = signal
            for callback in list(self._callbacks):
                callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Run `callback` when the build is cancelled (at once if it is already); returns a call that removes it."""
        self._callbacks.append(callback)
        if self.signal:
            callback()

        def remove() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return remove

    def check(self) -> None:
        """Raise Cancelled if the build was told to stop."""
        if self.signal:
            raise Cancelled("the build was cancelled", exit_code=128 + self.signal)

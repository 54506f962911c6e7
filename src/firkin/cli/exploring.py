"""What the commands that look into images share: the session, progress on terminals, output. Does I/O. `cli.commands`
only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Lock
from typing import TypeVar

from firkin.ambient import Ambient
from firkin.cli.arguments import Arguments
from firkin.cli.command import Invocation
from firkin.cli.moving import Moving, progress_name
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.store import open_client, open_store, warn_plainly, with_interrupts
from firkin.errors import Cancelled, HostError, UsageError
from firkin.events import Event, Warned
from firkin.images.explore.files import ImageFiles
from firkin.images.explore.session import Session
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform
from firkin.registry.client import RegistryClient
from firkin.settings import Settings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools

EXPLORING = (
    Option(("--platform",), "platform", "text", "look at the image for this platform", "OS/ARCH[/VARIANT]",
           ("DOCKER_DEFAULT_PLATFORM",)),
    Option(("--quiet", "-q"), "quiet", "flag", "do not show downloads", takes_value=False),
    *REGISTRY,
    *COMMON,
)  # fmt: skip
ABOUT_IMAGE = (
    "IMAGE is a name, a digest or the beginning of one in the store, or else a name in a registry, of which only the "
    "layers needed are fetched (`docker://NAME`: always the registry)."
)
_HELD = 1 << 16
T = TypeVar("T")


class Explorer:
    """One call of a command that looks into images. A context manager."""

    def __init__(
        self, arguments: Arguments, ambient: Ambient, store: Store, settings: Settings, cancel: Cancel
    ) -> None:  # fmt: skip
        self.platform, self._exact = _platform(arguments.text("platform"))
        self.cancel = cancel
        name = progress_name(arguments, settings, ambient.environ)
        self._progress = name if name == "tty" else "quiet"
        self._settings = settings
        self._moving: Moving | None = None
        self._stack = ExitStack()
        self._lock = Lock()
        self._client: RegistryClient | None = None
        self.session = self._stack.enter_context(
            Session(store, self._registry, self._emit, cancel, time.time, parallel=settings.registry.parallel)
        )

    def __enter__(self) -> Explorer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fetch(self, work: Callable[[], T]) -> T:
        """Do work that may fetch layers, and draw them; nothing is drawn any more when it returns."""
        pools = Pools(steps=1, transfers=1, cpu=1)
        with Moving(self._progress, "Reading") as self._moving:
            task = pools.steps.submit(work)
            try:
                self._moving.wait([task])  # type: ignore[list-item]
            finally:
                if not task.done:
                    self.cancel.set()
                pools.close(Cancelled("reading has ended"))
                task.wait()
        self._moving = None
        return task.result()

    def open(self, text: str) -> ImageFiles:
        """Return the files of an image; to be called by `fetch`."""
        return self.session.open(text, self.platform, exact=self._exact)

    def _emit(self, event: Event) -> None:
        moving = self._moving
        if moving is not None:
            moving.emit(event)
        elif isinstance(event, Warned):
            warn_plainly(event.code, event.message)

    def _warn(self, code: str, message: str) -> None:
        self._emit(Warned(time.time(), code, message))

    def _registry(self) -> RegistryClient:
        with self._lock:
            if self._client is None:
                self._client = self._stack.enter_context(open_client(self._settings, self.cancel, self._warn))
            return self._client


def explore(invocation: Invocation, work: Callable[[Explorer], int]) -> int:
    """Run the work of a command that looks into images. Raises UsageError."""
    store, settings = open_store(invocation)

    def guarded(cancel: Cancel) -> int:
        with store, Explorer(invocation.arguments, invocation.ambient, store, settings, cancel) as explorer:
            return work(explorer)

    return with_interrupts(guarded)


def _platform(text: str) -> tuple[Platform, bool]:
    host = this_platform()
    try:
        return (parse_platform(text, host), True) if text else (host, False)
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None


class Output:
    """Standard output for much text or data: text is gathered, data passes through. Raises HostError."""

    def __init__(self, cancel: Cancel) -> None:
        self._cancel = cancel
        self._held: list[str] = []
        self._size = 0

    def line(self, text: str) -> None:
        """Add a line; undecodable bytes of a name come out as they are."""
        self._held.append(text + "\n")
        self._size += len(text)
        if self._size > _HELD:
            self.flush()

    def flush(self) -> None:
        """Write the lines so far."""
        self.write("".join(self._held).encode("utf-8", "surrogateescape"))
        self._held.clear()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write data at once. Raises BrokenPipeError, HostError, Cancelled."""
        self._cancel.check()
        try:
            while data:
                data = data[os.write(1, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            why = (error.strerror or "").lower()
            raise HostError(f"cannot write to standard output: {why}", code="stdout") from error


def shown_name(text: str) -> str:
    """Return a name from an image on one line, without anything that controls a terminal: `a\\nb`, `\\x1b`."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_shown_char(char) for char in text)


def _shown_char(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if char.isprintable() or "\udc80" <= char <= "\udcff":
        return char
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char, char.encode("unicode_escape").decode())


def shown_mode(kind: str, mode: int) -> str:
    """Return kind and mode as `ls -l` does: `drwxr-xr-x`."""
    import stat

    return stat.filemode(_KIND_BITS[kind] | mode)


_KIND_BITS = {
    "file": 0o100000, "dir": 0o040000, "symlink": 0o120000, "fifo": 0o010000, "char": 0o020000, "block": 0o060000,
}  # fmt: skip

"""What the commands about archives share: bytes from a file or a pipe, platforms, progress. Does I/O. `cli` only."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator

from firkin.cli.arguments import Arguments
from firkin.cli.moving import Line
from firkin.cli.options import Option
from firkin.errors import UsageError
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform
from firkin.tasks.cancel import Cancel

PLATFORMS = Option(("--platform",), "platform", "many", "only these platforms (several: with commas)",
                   "OS/ARCH[/VARIANT]")  # fmt: skip
_CHUNK = 1 << 20
_LOOK_MS = 200
_LARGE = 4 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, Linux 2.6.35


def platforms_of(arguments: Arguments) -> tuple[Platform, ...]:
    """Return the platforms that the user wants. Raises UsageError."""
    texts = [text.strip() for value in arguments.many("platform") for text in value.split(",")]
    try:
        return tuple(parse_platform(text, this_platform()) for text in texts)
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None


def chunks_of(fd: int, cancel: Cancel) -> Iterator[bytes]:
    """Yield the bytes of an open file or pipe; raises Cancelled also while it waits for them, OSError."""
    import fcntl

    try:
        fcntl.fcntl(fd, _SET_PIPE_SIZE, _CHUNK)
    except OSError:
        pass  # it is no pipe, or many pipes are that large already
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        cancel.check()
        if poll.poll(_LOOK_MS):
            chunk = os.read(fd, _CHUNK)
            if not chunk:
                return
            yield chunk


def metered(line: Line) -> Callable[[str, int], Callable[[int], None]]:
    """Return what shows how much of a large file of an archive was read."""

    def meter(name: str, size_bytes: int) -> Callable[[int], None]:
        if size_bytes < _LARGE:
            return lambda current: None
        shown = name.removeprefix("blobs/sha256/").replace("/", "-")
        return line.meter(f"sha256:{shown}", size_bytes)

    return meter


def quiet_progress(name: str, arguments: Arguments) -> str:
    """Return the renderer to use: as with docker, nothing is drawn where nobody looks, unless the user asks for it."""
    return "quiet" if name == "plain" and not arguments.given("progress") else name

"""The journal of events: STORE/events.jsonl, one event a line, as the Engine API has them. Does I/O.

Images, containers and volumes all write to it, so it lies below their rooms; `containers/home/journal.py` reads it, and
the monitor has a writer of its own (docs/dev/container-state.md, "Events", is the contract of both).

A writer opens the file for appending, locks it with flock(2), checks that it still has this name, and writes its whole
line at once. Whoever makes the file larger than LIMIT_BYTES renames it to `events.jsonl.1` before it lets go: so a line
is in exactly one of the two files, and both together have a bounded size.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Mapping

import msgspec

NAME = "events.jsonl"
LIMIT_BYTES = 4 << 20
# A longer event goes without labels, and with the beginnings of other texts: else one container with large labels would
# push the events of all others out of the journal.
MOST_LINE_BYTES = 64 << 10
_MOST_TEXT = 4096

_encoder = msgspec.json.Encoder()


def journal_path(root: str) -> str:
    """Return the path of the journal of the store at `root`."""
    return f"{root}/{NAME}"


def append(
    root: str, kind: str, action: str, id: str, attributes: Mapping[str, str], *,
    labels: Mapping[str, str] | None = None, now_ns: int = 0,
) -> None:  # fmt: skip
    """Write one event: `kind` is "container", "image", "volume" …, `id` and `attributes` are those of its actor.

    `labels` are attributes that an event of more than MOST_LINE_BYTES goes without. An event that cannot be written (a
    full disk) is lost: what it tells has happened all the same.
    """
    now_ns = now_ns or time.time_ns()
    line = event_line(kind, action, id, {**(labels or {}), **attributes}, now_ns)
    if len(line) > MOST_LINE_BYTES:
        line = event_line(kind, action, id, {key: text[:_MOST_TEXT] for key, text in attributes.items()}, now_ns)
    write_line(journal_path(root), line)


def image_event(root: str, action: str, id: str, name: str = "", labels: Iterable[tuple[str, str]] = ()) -> None:
    """Write an event of an image: `id` is its id (of pulls and pushes the name), `name` what it was called.

    Its labels are among the attributes, as far as whoever acts has read them: not of an image that has gone.
    """
    append(root, "image", action, id, {**dict(labels), "name": name or id})


def event_line(kind: str, action: str, id: str, attributes: Mapping[str, str], now_ns: int) -> bytes:
    """Return the line of an event. Spec: Engine API 1.51, EventMessage, with the fields that older clients read."""
    event: dict[str, object] = {}
    if kind in ("container", "image"):
        event |= {"status": action, "id": id}
        if attributes.get("image") and kind == "container":
            event["from"] = attributes["image"]
    event |= {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": id, "Attributes": dict(attributes)},
        "scope": "local",
        "time": now_ns // 10**9,
        "timeNano": now_ns,
    }
    return _encoder.encode(event) + b"\n"


def write_line(path: str, line: bytes, limit_bytes: int = LIMIT_BYTES) -> None:
    """Append a line, whole or not at all; does nothing when it cannot be written."""
    try:
        descriptor = _open_locked(path)
    except OSError:
        return
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, size)  # the disk is full
        elif size + len(line) > limit_bytes:
            os.rename(path, f"{path}.1")
    except OSError:
        return
    finally:
        os.close(descriptor)


def _open_locked(path: str) -> int:
    """Open the journal and lock it; raises OSError."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                return descriptor
        except FileNotFoundError:
            pass  # it was just renamed, and nobody has begun the next one
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)

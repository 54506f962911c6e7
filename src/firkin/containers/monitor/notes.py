"""What the monitor writes down: the container's state, events, and its own faults. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. The form of an event is that of the
Engine API (docs/dev/container-state.md).
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from firkin.containers.monitor.files import append_line, write_whole
    from firkin.containers.monitor.wire import to_json

# A longer event has no labels, and only the beginning of a command: it would push others out of the journal.
MOST_EVENT, MOST_ACTION = 64 << 10, 4096


class Notes:
    """The files of one container. `state` has the fields of `record.State`."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.state: dict[str, Any] = dict(document["state"])
        self.path = f"{document['home']}/state.json"
        self.told: set[str] = set()

    def save(self, **changes: object) -> None:
        """Change the state and write it."""
        self.state.update(changes)
        try:
            write_whole(self.path, to_json(self.state))
        except OSError as error:
            self.say_once(f"the state cannot be written: {error}")

    def event(self, action: str, **attributes: str) -> None:
        """Add an event to the journal."""
        document = self.document
        known = {**attributes, "image": document["image"], "name": document["name"]}
        line = self.container_line(action, {**document["labels"], **known})
        if len(line) > MOST_EVENT:
            line = self.container_line(action[:MOST_ACTION], known)
        self.add_line(line)

    def container_line(self, action: str, attributes: dict[str, str]) -> bytes:
        id, image = self.document["id"], self.document["image"]
        return event_line({"status": action, "id": id, "from": image}, "container", action, id, attributes)

    def volume_event(self, action: str, name: str) -> None:
        """Add an event of a volume."""
        self.add_line(event_line({}, "volume", action, name, {"driver": "local"}))

    def add_line(self, line: bytes) -> None:
        try:
            append_line(self.document["journal"], line)
        except OSError as error:
            self.say_once(f"events cannot be written: {error}")

    def say(self, text: str) -> None:
        """Write a line to monitor.log, which is this process's standard error."""
        try:
            os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n".encode("utf-8", "replace"))
        except OSError:
            pass  # the disk is full

    def say_once(self, text: str) -> None:
        """Write a line, unless it was written before."""
        if text not in self.told and len(self.told) < 100:
            self.told.add(text)
            self.say(text)

    def fault(self, fault: BaseException) -> None:
        """Write down a fault of the monitor and where it happened."""
        place = fault.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_name}:{place.tb_lineno}" if place is not None else sys.executable
        self.say_once(f"fault: {type(fault).__name__}: {fault} ({where})")


def event_line(start: dict[str, Any], kind: str, action: str, id: str, attributes: dict[str, str]) -> bytes:
    ns = time.time_ns()
    line = {
        **start, "Type": kind, "Action": action, "Actor": {"ID": id, "Attributes": attributes}, "scope": "local",
        "time": ns // 1_000_000_000, "timeNano": ns,
    }  # fmt: skip
    return to_json(line) + b"\n"

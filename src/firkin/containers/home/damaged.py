"""What lists show of a container whose record cannot be read: its id, and its name if one leads to it. Does I/O."""

from __future__ import annotations

import os
from contextlib import suppress

from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.record import RECORD_VERSION, ZERO_TIME, Record, State
from firkin.containers.home.times import time_text

UNREADABLE = State(dead=True, error="its record cannot be read")


def placeholder(containers: str, id: str) -> Record:
    """Return a record that holds what is known without it; `containers` is the directory of all of them."""
    created = ZERO_TIME
    with suppress(OSError):
        created = time_text(os.stat(f"{containers}/{id}").st_ctime_ns)
    return Record(RECORD_VERSION, id, _name(f"{containers}/names", id), created, "", Config(), HostConfig(), "", (), ())


def _name(folder: str, id: str) -> str:
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                if os.readlink(f"{folder}/{name}") == id:
                    return name
    return ""

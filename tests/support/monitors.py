"""Monitors of commands that are no containers: the launch document, and what a monitor writes."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from firkin.containers.documents.record import State
from firkin.containers.link import program
from firkin.containers.link.connection import Link
from firkin.containers.link.monitoring import Nursling, spawn_monitor
from support.places import REPOSITORY

CONTAIN = REPOSITORY / "tests/support/bare_contain.py"
ID = "a1" * 32


def nursling() -> Nursling:
    """Spawn a monitor whose commands are ordinary processes."""
    with patch.object(program, "FOR_CONTAINERS", (str(CONTAIN),)):
        return spawn_monitor()


class Watched:
    """A monitor and its files."""

    def __init__(self, home: Path, *argv: str, **changes: Any) -> None:
        self.home = home
        home.mkdir(exist_ok=True)
        terminal = bool(changes.get("tty"))
        plan = {"argv": argv, "terminal": terminal}
        self.document: dict[str, Any] = {
            "version": 1, "id": ID, "name": "web", "image": "box:1", "labels": {"a": "b"},
            "home": str(home), "socket": str(home / "socket"), "journal": str(home / "events.jsonl"),
            "state": msgspec.to_builtins(State()), "plan": plan, "exec": (0, (), (), (), ({}, {}), False), "maps": None,
            "joined": [], "tty": terminal, "open_stdin": False, "stdin_once": False, "size": [0, 0],
            "given_term": False,
            "log": {"type": "json-file", "path": str(home / "log.json"), "max_size": 0, "max_file": 1,
                    "compress": False, "attrs": {}, "buffer": 0},
            "health": None, "restart": {"name": "no", "most": 0}, "auto_remove": None, "stop_signal": 15,
            "own_stop_signal": False, "stop_timeout": 10, "cgroup": None, **changes,
        }  # fmt: skip
        self.link = nursling().launch(self.document)

    def connect(self) -> Link:
        """Return one more connection."""
        from _socket import AF_UNIX, SOCK_STREAM, socket

        connection = socket(AF_UNIX, SOCK_STREAM)
        connection.connect(self.document["socket"])
        return Link(connection)

    def state(self) -> State:
        return msgspec.json.decode((self.home / "state.json").read_bytes(), type=State)

    def events(self) -> list[str]:
        """Return the actions that were written to the journal."""
        path = self.home / "events.jsonl"
        return [json.loads(line)["Action"] for line in path.read_text().splitlines()] if path.exists() else []

    def log(self) -> list[tuple[str, str]]:
        """Return stream and text of what was logged."""
        lines = (self.home / "log.json").read_text().splitlines()
        return [(found["stream"], found["log"]) for found in map(json.loads, lines)]

    def faults(self) -> str:
        return (self.home / "monitor.log").read_text()


def text_of(link: Link) -> tuple[bytes, bytes, dict[str, Any]]:
    """Read to the end: stdout, stderr, and the notice of the end."""
    output = {1: b"", 2: b""}
    notice: dict[str, Any] = {}
    while (found := link.read()) is not None:
        kind, payload = found
        if kind == 18:
            notice = json.loads(payload)
        elif kind in output:
            output[kind] += payload
    return output[1], output[2], notice

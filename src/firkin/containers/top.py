"""The processes of a container, as this machine's `ps` shows them. Does I/O. Mirrors: moby daemon/top_unix.go."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Sequence
from typing import NamedTuple

from firkin.containers.documents.lifecycle import answer, status_of
from firkin.containers.home.engine import Engine
from firkin.containers.link.connection import MonitorGone, connect
from firkin.errors import ContainerError

DEFAULT_ARGUMENTS = "-ef"
_NAMED = re.compile(r"\s+(\S*)=\s*(PID\S*)")


class Processes(NamedTuple):
    """Rows have as many fields as there are titles; pids are those of this machine."""

    titles: list[str]
    rows: list[list[str]]


def top(engine: Engine, text: str, arguments: str = "") -> Processes:
    """Return the processes of a container; `arguments` are those of ps(1). Raises ContainerError."""
    arguments = arguments or DEFAULT_ARGUMENTS
    for column, name in _NAMED.findall(arguments):
        if column != "pid":
            raise ContainerError(f'specifying "{column}={name}" is not allowed', kind="invalid", code="top-arguments")
    pids = container_pids(engine, text)
    words = arguments.split(" ")
    said = _ps([*words, f"-q{','.join(map(str, pids))}"])
    if said is None:
        said = _ps(words)  # some options of ps cannot be used together with -q
    if said is None:
        raise ContainerError(f"ps: {_complaint(words)}", kind="failed", code="top-ps")
    return parse_ps(said, frozenset(pids))


def container_pids(engine: Engine, text: str) -> list[int]:
    """Return the processes of a running container. Raises ContainerError (`conflict`: it does not run)."""
    record = engine.home.find(text)
    state = engine.home.state(record.id)
    if answer("top", state) == "conflict":
        if status_of(state) == "restarting":
            message = f"container {record.id} is restarting, wait until the container is running"
        else:
            message = f"container {record.id} is not running"
        raise ContainerError(message, kind="conflict", code="container-state")
    link = connect(engine.home, record.id)
    try:
        if link is not None:
            pids: list[int] = link.ask("top")["pids"]
            return pids
    except MonitorGone:
        pass
    finally:
        if link is not None:
            link.close()
    raise ContainerError(f"container {record.id} is not running", kind="conflict", code="container-state")


def parse_ps(output: str, pids: Collection[int]) -> Processes:
    """Return the lines about some processes, and lines about their threads. Raises ContainerError.

    What exceeds the titles belongs to the last field, which keeps its blanks as single ones.
    """
    head, _, body = output.partition("\n")
    titles = head.split()
    if "PID" not in titles:
        raise ContainerError("Couldn't find PID field in ps output", kind="failed", code="top-pid")
    column, rows, inside = titles.index("PID"), list[list[str]](), False
    for line in body.splitlines():
        fields = line.split()
        if len(fields) <= column:
            continue
        word = fields[column]
        if word != "-":  # else a thread of the process above
            if not (word.isascii() and word.isdigit()):
                raise ContainerError(f"Unexpected pid '{word}' in ps output", kind="failed", code="top-pid")
            inside = int(word) in pids
        if inside:
            last = len(titles) - 1
            rows.append([*fields[:last], " ".join(fields[last:])])
    return Processes(titles, rows)


def _ps(words: Sequence[str]) -> str | None:
    """Return what ps prints, None if it fails. Raises ContainerError if there is none."""
    try:
        done = subprocess.run(["ps", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise ContainerError(
            f"cannot run ps: {(error.strerror or '').lower()}", kind="failed", code="top-ps",
            hints=("it comes with the package procps",),
        ) from error  # fmt: skip
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _complaint(words: Sequence[str]) -> str:
    done = subprocess.run(["ps", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.stderr.decode("utf-8", "replace").strip().partition("\n")[0] or f"exit status {done.returncode}"

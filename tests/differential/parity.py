"""Runs the same commands with docker (against a dockerd) and with firkin called `docker`, and compares what they say.

A Session is a list of steps that build on one another: both tools run all of them, each on images of its own, which
both pulled from one registry. Of a step its exit code and its standard output are compared, after what must differ (the
time, a temporary path) was replaced; of standard error only the words that scripts look for. Does I/O.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 60


@dataclass(frozen=True)
class Step:
    """One command line.

    `{registry}` and `{place}` (a directory of the tool's own) are replaced in it. `feed` names a file of that
    directory for standard input; `keep` one that standard output becomes. `says`: words that standard error must have.
    `form`: how standard output is compared (`text`, `lines` in any order, `json`, `columns`: the words of each line, or
    `none`).
    """

    line: str
    feed: str = ""
    keep: str = ""
    says: str = ""
    form: str = "text"

    @property
    def name(self) -> str:
        """The step as the table of differences names it."""
        return self.line


@dataclass(frozen=True)
class Outcome:
    """What a step did."""

    code: int
    out: object
    err: str = field(compare=False, default="")


@dataclass(frozen=True)
class Tool:
    """How a tool is called."""

    command: tuple[str, ...]
    place: Path
    env: dict[str, str]

    def run(self, step: Step, registry: str) -> Outcome:
        """Run a step."""
        words = [word.replace("{registry}", registry).replace("{place}", str(self.place)) for word in split(step.line)]
        feed = (self.place / step.feed).open("rb") if step.feed else subprocess.DEVNULL
        done = subprocess.run(
            [*self.command, *words], stdin=feed, capture_output=True, timeout=PATIENCE_S, cwd=self.place,
            env={**os.environ, **self.env},
        )  # fmt: skip
        if step.keep:
            (self.place / step.keep).write_bytes(done.stdout)
        out = done.stdout.decode(errors="replace") if not step.keep else ""
        text = normalised(out, registry, self.place)
        return Outcome(done.returncode, formed(step.form, text), done.stderr.decode(errors="replace"))


def split(line: str) -> list[str]:
    """Split a line at blanks; single quotes keep words together, and nothing else is special."""
    return [quoted or plain for quoted, plain in re.findall(r"'([^']*)'|(\S+)", line)]


_TIMES = (
    (re.compile(r"\b(\d+ (seconds?|minutes?)|About a minute|Less than a second)( ago)?"), "LATELY"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4} \w+|Z|[+-]\d\d:\d\d)"), "TIME"),
)


def normalised(text: str, registry: str, place: Path) -> str:
    """Return the text without what differs between two runs of one tool."""
    text = text.replace(registry, "REGISTRY").replace(str(place), "PLACE")
    for pattern, word in _TIMES:
        text = pattern.sub(word, text)
    return text


def formed(form: str, text: str) -> object:
    """Return the part of the text that is compared."""
    if form == "none":
        return None
    if form == "lines":
        return sorted(text.splitlines())
    if form == "columns":
        return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    if form == "json":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def differences(steps: tuple[Step, ...], docker: Tool, firkin: Tool, registry: str) -> Iterator[tuple[Step, str]]:
    """Run a session with both; yield each step that differs, and how."""
    for step in steps:
        theirs, ours = docker.run(step, registry), firkin.run(step, registry)
        told = compared(step, theirs, ours)
        if told:
            yield step, told


def compared(step: Step, theirs: Outcome, ours: Outcome) -> str:
    """Return in words how two outcomes differ, "" if they do not."""
    found = []
    if theirs.code != ours.code:
        found.append(f"exit code {theirs.code}, firkin's {ours.code}")
    if theirs.out != ours.out:
        found.append(f"stdout {theirs.out!r}, firkin's {ours.out!r}")
    for who, outcome in (("docker", theirs), ("firkin", ours)):
        if step.says and step.says not in outcome.err:
            found.append(f"{who} does not say {step.says!r}")
    return "; ".join(found) and f"{'; '.join(found)}\n  docker: {theirs.err.strip()}\n  firkin: {ours.err.strip()}"


def called_docker(place: Path) -> Path:
    """Return a program that is this firkin, called by the name `docker`."""
    link = place / "docker"
    (place / "firkin").write_text(f"#!{sys.executable}\nimport sys\nfrom firkin.cli.main import main\nsys.exit(main())\n")
    (place / "firkin").chmod(0o755)
    link.symlink_to("firkin")
    return link

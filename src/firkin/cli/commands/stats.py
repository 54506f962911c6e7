"""`firkin stats`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/stats.go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from firkin.cli.command import Invocation
from firkin.cli.docker_config import read_docker_config
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_all, write_message, write_out
from firkin.containers.documents.record import Record
from firkin.containers.documents.usage import usage_of
from firkin.containers.home.engine import Engine
from firkin.containers.home.times import time_text
from firkin.containers.resources import read_statistics
from firkin.errors import ContainerError
from firkin.render.rows import Cell, rows_text
from firkin.render.units import binary_size, short_id, size3

USAGE = "[OPTIONS] [CONTAINER...]"
ABOUT = "Show what containers use of this machine, again each second; without CONTAINER, all that run."
OPTIONS = (
    Option(("--all", "-a"), "all", "flag", "show also containers that do not run", takes_value=False),
    Option(("--format",), "format", "text", "`table`, `table TEMPLATE`, `json`, or a Go template", "FORMAT"),
    Option(("--no-stream",), "no_stream", "flag", "show it once, and end", takes_value=False),
    Option(("--no-trunc",), "no_trunc", "flag", "print whole ids", takes_value=False),
    *COMMON,
)  # fmt: skip
_FIELDS = {
    "BlockIO": "BLOCK I/O", "CPUPerc": "CPU %", "Container": "CONTAINER", "ID": "CONTAINER ID", "MemPerc": "MEM %",
    "MemUsage": "MEM USAGE / LIMIT", "Name": "NAME", "NetIO": "NET I/O", "PIDs": "PIDS",
}  # fmt: skip
_TABLE = (
    "{{.ID}}\\t{{.Name}}\\t{{.CPUPerc}}\\t{{.MemUsage}}\\t{{.MemPerc}}\\t{{.NetIO}}\\t{{.BlockIO}}\\t{{.PIDs}}"
)
_INTERVAL_S = 1.0
# As docker's: clear the screen; the cursor to its top; erase the rest of a line; erase what is below.
_CLEAR, _HOME, _END_OF_LINE, _BELOW = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"


def run(invocation: Invocation) -> int:
    """Print a table, once or again and again. Raises ContainerError, TemplateError."""
    arguments = invocation.arguments
    form = arguments.text("format") or read_docker_config(invocation.ambient).format("stats", "")
    engine = open_engine(invocation)
    shown = _Shown(engine, arguments.operands, every=arguments.flag("all"), whole=arguments.flag("no_trunc"))
    shown.rows()  # a share of the processor is that since the sample before
    if arguments.flag("no_stream"):
        time.sleep(_INTERVAL_S)
        rows = shown.rows()
        if shown.roughly:
            write_message(
                "warning: without control groups the numbers are sums over the processes that run now (stats-roughly)\n"
            )
        write_out(rows_text(form, _FIELDS, rows, _TABLE))
        return 0
    write_all(1, _CLEAR)
    while True:
        time.sleep(_INTERVAL_S)
        lines = rows_text(form, _FIELDS, shown.rows(), _TABLE).split("\n")
        text = "".join(f"{line}{_END_OF_LINE}\n" for line in lines[:-1])
        write_all(1, f"{_HOME}{text}{_BELOW}")


class _Shown:
    """The containers that are shown, with their last samples."""

    def __init__(self, engine: Engine, names: Sequence[str], *, every: bool, whole: bool) -> None:
        self._engine = engine
        self._every = every
        self._whole = whole
        self._asked = [(name, engine.home.find(name)) for name in names]
        self._samples: dict[str, Mapping[str, Any]] = {}
        self.roughly = False

    def rows(self) -> list[Mapping[str, Cell]]:
        """Take a sample of each container, and return them as rows."""
        taken = {}
        rows = []
        for name, record, sample in self._sampled():
            taken[record.id] = sample
            self.roughly |= sample["source"] == "processes"
            rows.append(self._row(name, record, sample))
        self._samples = taken
        return rows

    def _sampled(self) -> Iterator[tuple[str, Record, Mapping[str, Any]]]:
        if self._asked:
            listed = self._asked
        else:
            entries = sorted(self._engine.home.entries(), key=lambda entry: entry.record.created, reverse=True)
            listed = [
                (short_id(entry.record.id), entry.record) for entry in entries if self._every or entry.state.running
            ]
        for name, record in listed:
            try:
                state = self._engine.home.state(record.id)
            except ContainerError:
                continue  # it was removed meanwhile
            yield name, record, read_statistics(record, state, time_text(time.time_ns()), self._samples.get(record.id))

    def _row(self, name: str, record: Record, sample: Mapping[str, Any]) -> Mapping[str, Cell]:
        usage = usage_of(sample)
        return {
            "BlockIO": f"{size3(usage.read)} / {size3(usage.written)}",
            "CPUPerc": f"{usage.cpu_percent:.2f}%",
            "Container": name,
            "ID": record.id if self._whole else short_id(record.id),
            "MemPerc": f"{usage.memory_percent:.2f}%",
            "MemUsage": f"{binary_size(usage.memory)} / {binary_size(usage.memory_limit)}",
            "Name": record.name,
            "NetIO": f"{size3(usage.received)} / {size3(usage.sent)}",
            "PIDs": str(usage.pids),
        }

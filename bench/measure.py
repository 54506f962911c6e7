"""What a command costs: wall, CPU of its process tree, peak memory, bytes read and written.

CPU and bytes come from the kernel's sums over reaped children (shim.py). Memory is sampled: the sum of the
proportional set sizes of the tree, so that pages shared by two processes count once. A daemon that works for the
command is watched beside it.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SHIM = Path(__file__).with_name("shim.py")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class CommandFailed(Exception):
    """A measured command did not do its work."""


@dataclass(frozen=True)
class Usage:
    """What one run cost. `process_bytes` is the largest resident set of any one process."""

    wall_s: float
    cpu_s: float
    tree_bytes: int
    process_bytes: int
    read_bytes: int
    written_bytes: int

    def __add__(self, other: "Usage") -> "Usage":
        """Return the cost of one run after the other."""
        return Usage(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            max(self.tree_bytes, other.tree_bytes),
            max(self.process_bytes, other.process_bytes),
            self.read_bytes + other.read_bytes,
            self.written_bytes + other.written_bytes,
        )


def median(runs: list[Usage]) -> Usage:
    """Return the median of each figure; of memory the largest."""
    return Usage(
        statistics.median(run.wall_s for run in runs),
        statistics.median(run.cpu_s for run in runs),
        max(run.tree_bytes for run in runs),
        max(run.process_bytes for run in runs),
        int(statistics.median(run.read_bytes for run in runs)),
        int(statistics.median(run.written_bytes for run in runs)),
    )


def measure(
    command: list[str], env: Mapping[str, str] | None = None, daemon: int = 0, timeout_s: float = 900
) -> tuple[Usage, str]:
    """Run a command; return its cost and what it wrote to standard output.

    `daemon` is the pid of a daemon that does the work, or 0. Raises CommandFailed with the end of its output.
    """
    read_end, write_end = os.pipe()
    before = _daemon_cost(daemon)
    with open(read_end, "rb") as figures, subprocess.Popen(
        [sys.executable, "-I", "-S", str(SHIM), str(write_end), *command],
        env=env,
        pass_fds=(write_end,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        os.close(write_end)
        with _sampling(process.pid, daemon) as peak:
            try:
                out, errors = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise CommandFailed(f"{command[0]}: no end after {timeout_s:.0f} s") from error
        told = figures.read().split()
    if process.returncode or len(told) != 5:
        raise CommandFailed(f"{' '.join(command)}: status {process.returncode}\n{(out + errors)[-3000:]}")
    wall, cpu, process_bytes, read, written = map(float, told)
    after = _daemon_cost(daemon)
    spent = [b - a for a, b in zip(before, after, strict=True)]
    return (
        Usage(
            wall,
            cpu + spent[0],
            max(peak.tree, int(process_bytes)),
            max(peak.process if daemon else 0, int(process_bytes)),
            int(read + spent[1]),
            int(written + spent[2]),
        ),
        out,
    )


class _Peak:
    tree = 0
    process = 0


@contextlib.contextmanager
def _sampling(root: int, daemon: int, interval_s: float = 0.05) -> Iterator[_Peak]:
    peak, stop = _Peak(), threading.Event()

    def watch() -> None:
        while not stop.wait(interval_s):
            sizes = [_set_size(pid) for pid in (*_tree(root)[1:], *(_tree(daemon) if daemon else ()))]
            peak.tree = max(peak.tree, sum(sizes))
            peak.process = max(peak.process, *sizes, 0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _tree(pid: int) -> list[int]:
    """Return a process and everything below it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    found += map(int, file.read().split())
    return found


def _set_size(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _daemon_cost(daemon: int) -> tuple[float, int, int]:
    """Return CPU seconds, bytes read and written so far of a daemon and its children, reaped or not."""
    ticks = read = written = 0
    for pid in _tree(daemon) if daemon else ():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            for line in Path(f"/proc/{pid}/io").read_text().splitlines():
                name, _, value = line.partition(": ")
                read += int(value) if name == "rchar" else 0
                written += int(value) if name == "wchar" else 0
    return ticks / TICKS_PER_S, read, written


def wall_s(command: list[str], env: Mapping[str, str] | None = None) -> float:
    """Run a short command and return its seconds, without watching it."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin

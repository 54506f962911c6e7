"""Settings of a request for its commands: network, limits, PATH. Pure. It is small, since every front loads it."""

from __future__ import annotations

from typing import Literal

import msgspec

Network = Literal["default", "host", "none"]
Security = Literal["sandbox", "insecure"]

DEVICE_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
    ("pts/ptmx", "/dev/ptmx"),
)
"""Symbolic links in a new /dev: text, path."""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHM_BYTES = 64 << 20
DEFAULT_UMASK = 0o022

# Docker's names of limits and their numbers for getrlimit(2), which hold for x86, arm, riscv and s390.
ULIMITS = {
    "core": 4, "cpu": 0, "data": 2, "fsize": 1, "locks": 10, "memlock": 8, "msgqueue": 12, "nice": 13,
    "nofile": 7, "nproc": 6, "rss": 5, "rtprio": 14, "rttime": 15, "sigpending": 11, "stack": 3,
}  # fmt: skip


class Ulimit(msgspec.Struct, frozen=True):
    """A resource limit by its Docker name (`nofile`); -1 is unlimited."""

    name: str
    soft: int
    hard: int

"""What containers use, calculated from statistics as docker's command line does it. Pure.

Mirrors: docker/cli cli/command/container/stats_helpers.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Percentages are of one processor and of the limit of memory; the rest are bytes, but `pids`, a number."""

    cpu_percent: float
    memory: int
    memory_limit: int
    memory_percent: float
    received: int
    sent: int
    read: int
    written: int
    pids: int


def usage_of(statistics: Mapping[str, Any]) -> Usage:
    """Return what a sample with its predecessor says (Engine API, ContainerStats)."""
    memory = _part(statistics, "memory_stats")
    used, limit = memory_without_cache(memory), memory.get("limit", 0)
    return Usage(
        cpu_percent(_part(statistics, "precpu_stats"), _part(statistics, "cpu_stats")),
        used,
        limit,
        used / limit * 100 if limit else 0.0,
        _network_bytes(statistics, "rx_bytes"),
        _network_bytes(statistics, "tx_bytes"),
        _block_bytes(statistics, "r"),
        _block_bytes(statistics, "w"),
        _part(statistics, "pids_stats").get("current", 0),
    )


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part: Mapping[str, Any] = document.get(name) or {}
    return part


def _network_bytes(statistics: Mapping[str, Any], name: str) -> int:
    return sum(network.get(name, 0) for network in _part(statistics, "networks").values())


def _block_bytes(statistics: Mapping[str, Any], letter: str) -> int:
    entries = _part(statistics, "blkio_stats").get("io_service_bytes_recursive") or ()
    return sum(entry["value"] for entry in entries if entry["op"][:1].lower() == letter)


def cpu_percent(before: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    """Return the share of one processor that was used between two samples of `cpu_stats`, in percent."""
    used = _total(now) - _total(before)
    machine = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    processors = now.get("online_cpus", 0) or len(_part(now, "cpu_usage").get("percpu_usage") or ())
    return used / machine * processors * 100 if used > 0 and machine > 0 else 0.0


def memory_without_cache(memory: Mapping[str, Any]) -> int:
    """Return used memory without the pages of files that the kernel may drop, in control groups of either version."""
    usage: int = memory.get("usage", 0)
    details = _part(memory, "stats")
    inactive: int = details.get("total_inactive_file", details.get("inactive_file", 0))
    return usage - inactive if inactive < usage else usage


def _total(cpu: Mapping[str, Any]) -> int:
    total: int = _part(cpu, "cpu_usage").get("total_usage", 0)
    return total

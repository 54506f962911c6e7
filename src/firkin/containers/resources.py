"""What a container uses of this machine, as the Engine API's `stats` has it. Does I/O.

Where the container has control groups, the kernel's counters there; else the sum over the processes of its PID
namespace, which does not know those that have ended. Mirrors: moby daemon/stats, daemon/stats_unix.go; docker/cli
calculates percentages from `cpu_stats` and `precpu_stats`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from firkin.containers.documents.record import ZERO_TIME, Record, State
from firkin.containers.limits.facts import own_groups, read_hierarchies, read_text

_SECOND_NS = 1_000_000_000
_MICROSECOND_NS = 1_000
_UNLIMITED = (1 << 64) - 1  # what dockerd shows for no limit of processes in version 2
_NO_CPU: dict[str, Any] = {
    "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
    "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
}
_BLKIO = ("io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive",
          "io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive")  # fmt: skip


def read_statistics(record: Record, state: State, now: str, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a sample at the time `now` (RFC 3339); `before` is the previous one, which the differences are from.

    Numbers are raw: whoever shows memory subtracts `inactive_file`. `source` is "cgroup", "processes", or "" for a
    container that does not run, whose numbers are zero.
    """
    pid = state.pid if state.running else 0
    document: dict[str, Any] = {
        "read": now if pid else ZERO_TIME,
        "preread": ZERO_TIME,
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(_BLKIO),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _NO_CPU,
        "precpu_stats": _NO_CPU,
        "memory_stats": {},
        "name": f"/{record.name}",
        "id": record.id,
        "source": "",
    }
    if pid:
        groups = groups_of(pid, record.id)
        document.update(_of_groups(groups) if groups else _of_processes(pid))
        document["source"] = "cgroup" if groups else "processes"
        document["networks"] = _networks(pid)
        document["cpu_stats"] |= {"system_cpu_usage": system_cpu_ns(), "online_cpus": _online_cpus()}
    if before is not None:
        document["preread"], document["precpu_stats"] = before["read"], before["cpu_stats"]
    return document


def groups_of(pid: int, id: str) -> dict[str, str]:
    """Return the container's own control groups, {controller: directory}, {"": directory} for version 2; {} if none."""
    theirs = dict(own_groups(f"/proc/{pid}/cgroup"))
    found: dict[str, str] = {}
    for one in read_hierarchies():
        for name in one.controllers if one.version == 1 else ("",):
            group = theirs.get(name, "/")
            if id in group:
                # A command may have made groups beneath; the container's own is the one with its id.
                top, _, rest = group.partition(id)
                inner = rest.split("/")[0] + ("/container" if rest.startswith(".scope/") else "")
                found[name] = f"{one.mount}{top}{id}{inner}"
    hybrid = set(found) - {""}
    return {name: path for name, path in found.items() if name} if hybrid else found


def _of_groups(groups: Mapping[str, str]) -> dict[str, Any]:
    if "" in groups:
        return _of_version_2(groups[""])
    return {
        "cpu_stats": _cpu_1(groups.get("cpuacct", ""), groups.get("cpu", "")),
        "memory_stats": _memory_1(groups["memory"]) if "memory" in groups else {},
        "pids_stats": _pids(groups["pids"], 0) if "pids" in groups else {},
        "blkio_stats": _blkio_1(groups["blkio"]) if "blkio" in groups else dict.fromkeys(_BLKIO),
    }


def _cpu_1(usage: str, cpu: str) -> dict[str, Any]:
    ticks = os.sysconf("SC_CLK_TCK")
    modes, throttling = _pairs(f"{usage}/cpuacct.stat"), _pairs(f"{cpu}/cpu.stat")
    each = [int(word) for word in read_text(f"{usage}/cpuacct.usage_percpu").split()]
    return {
        "cpu_usage": {
            "total_usage": _number(f"{usage}/cpuacct.usage"),
            "percpu_usage": each,
            "usage_in_kernelmode": modes.get("system", 0) * _SECOND_NS // ticks,
            "usage_in_usermode": modes.get("user", 0) * _SECOND_NS // ticks,
        },
        "throttling_data": _throttling(throttling, throttling.get("throttled_time", 0)),
    }


def _throttling(values: Mapping[str, int], throttled_ns: int) -> dict[str, int]:
    return {
        "periods": values.get("nr_periods", 0),
        "throttled_periods": values.get("nr_throttled", 0),
        "throttled_time": throttled_ns,
    }


def _memory_1(group: str) -> dict[str, Any]:
    return {
        "usage": _number(f"{group}/memory.usage_in_bytes"),
        "max_usage": _number(f"{group}/memory.max_usage_in_bytes"),
        "stats": _pairs(f"{group}/memory.stat"),
        "failcnt": _number(f"{group}/memory.failcnt"),
        "limit": min(_number(f"{group}/memory.limit_in_bytes"), machine_memory()),
    }


def _pids(group: str, unlimited: int) -> dict[str, int]:
    limit = read_text(f"{group}/pids.max").strip()
    found = {"current": _number(f"{group}/pids.current")}
    number = int(limit) if limit.isdigit() else unlimited
    return found | {"limit": number} if number else found


def _blkio_1(group: str) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(_BLKIO)
    for file in _BLKIO[:2]:
        lines = read_text(f"{group}/blkio.bfq.{file}") + read_text(f"{group}/blkio.throttle.{file}")
        found[file] = list(_blkio_entries(lines.splitlines()))
    return found


def _blkio_entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield entries of lines such as `8:0 Read 4096`, each device and operation once."""
    seen = set()
    for line in lines:
        words = line.split()
        if len(words) == 3 and (words[0], words[1]) not in seen:
            seen.add((words[0], words[1]))
            yield _entry(words[0], words[1], int(words[2]))


def _entry(device: str, op: str, value: int) -> dict[str, Any]:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "op": op, "value": value}


def _of_version_2(group: str) -> dict[str, Any]:
    cpu = _pairs(f"{group}/cpu.stat")
    ns = {name: value * _MICROSECOND_NS for name, value in cpu.items()}
    limit = read_text(f"{group}/memory.max").strip()
    memory: dict[str, Any] = {}
    if os.path.exists(f"{group}/memory.current"):
        memory = {
            "usage": _number(f"{group}/memory.current"),
            "stats": _pairs(f"{group}/memory.stat"),
            "limit": min(int(limit), machine_memory()) if limit.isdigit() else machine_memory(),
        }
    return {
        "cpu_stats": {
            "cpu_usage": {
                "total_usage": ns.get("usage_usec", 0),
                "usage_in_kernelmode": ns.get("system_usec", 0),
                "usage_in_usermode": ns.get("user_usec", 0),
            },
            "throttling_data": _throttling(cpu, ns.get("throttled_usec", 0)),
        },
        "memory_stats": memory,
        "pids_stats": _pids(group, _UNLIMITED) if os.path.exists(f"{group}/pids.current") else {},
        "blkio_stats": _blkio_2(read_text(f"{group}/io.stat").splitlines()),
    }


def _blkio_2(lines: Iterable[str]) -> dict[str, Any]:
    """Return entries of lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4`."""
    found: dict[str, Any] = dict.fromkeys(_BLKIO) | {_BLKIO[0]: [], _BLKIO[1]: []}
    for line in lines:
        device, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for key, names in ((_BLKIO[0], ("rbytes", "wbytes")), (_BLKIO[1], ("rios", "wios"))):
            for op, name in zip(("read", "write"), names, strict=True):
                if values.get(name, "").isdigit():
                    found[key].append(_entry(device, op, int(values[name])))
    return found


def _of_processes(pid: int) -> dict[str, Any]:
    """Return what the processes of a PID namespace use together, their children that they waited for included."""
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    user = system = resident = count = 0
    for other in processes_beside(pid):
        fields = read_text(f"/proc/{other}/stat").rpartition(")")[2].split()
        if len(fields) < 22:
            continue  # it has ended
        count += 1
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
        resident += int(fields[21]) * page
    modes = (user * _SECOND_NS // ticks, system * _SECOND_NS // ticks)
    return {
        "cpu_stats": {
            "cpu_usage": {"total_usage": sum(modes), "usage_in_kernelmode": modes[1], "usage_in_usermode": modes[0]},
            "throttling_data": _NO_CPU["throttling_data"],
        },
        "memory_stats": {"usage": resident, "stats": {}, "limit": machine_memory()},
        "pids_stats": {"current": count},
    }


def processes_beside(pid: int) -> list[int]:
    """Return the processes that are in the PID namespace of a process, with itself."""
    try:
        space = os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                same = os.readlink(f"/proc/{name}/ns/pid") == space
            except OSError:
                continue  # it ended, or is not ours
            if same:
                found.append(int(name))
    return found


def _networks(pid: int) -> dict[str, dict[str, int]]:
    """Return what went over the interfaces of a container's own network; {} where it has this machine's."""
    try:
        if os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            return {}
    except OSError:
        return {}
    found = {}
    for line in read_text(f"/proc/{pid}/net/dev").splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(numbers) >= 12:
            received, sent = numbers[:4], numbers[8:12]
            found[name.strip()] = {
                f"{way}_{what}": value
                for way, values in (("rx", received), ("tx", sent))
                for what, value in zip(("bytes", "packets", "errors", "dropped"), values, strict=True)
            }
    return found


def system_cpu_ns() -> int:
    """Return the time of all processors together since boot, idle time too, in nanoseconds. Spec: proc(5), stat."""
    words = read_text("/proc/stat").partition("\n")[0].split()
    return sum(int(word) for word in words[1:8]) * _SECOND_NS // os.sysconf("SC_CLK_TCK")


def machine_memory() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _online_cpus() -> int:
    return os.cpu_count() or 1


def _number(path: str) -> int:
    text = read_text(path).strip()
    return int(text) if text.isdigit() else 0


def _pairs(path: str) -> dict[str, int]:
    """Return lines such as `nr_periods 3`."""
    words = (line.split() for line in read_text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}

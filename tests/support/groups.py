"""Trees of control groups, made of ordinary files."""

from pathlib import Path

MOUNTINFO = {
    "v1": "".join(
        f"3{place} 31 0:2{place} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
        for place, name in enumerate(("cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"))
    )
    + "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n",
    "v2": "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
}
MOUNTINFO["hybrid"] = MOUNTINFO["v1"] + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
_V1_FILES = {
    "cpu,cpuacct": ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"),
    "cpuset": ("cpuset.cpus", "cpuset.mems"),
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness",
               "memory.soft_limit_in_bytes", "memory.oom_control"),
    "devices": ("devices.allow",),
    "freezer": (),
    "blkio": ("blkio.throttle.read_bps_device",),
    "pids": (),
}  # fmt: skip


def put(root: Path, files: dict[str, str]) -> None:
    """Write files beneath a root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def machine(root: Path, layout: str, own: str = "/") -> Path:
    """Make a machine whose processes are all in one group; version 2 has the group `system.slice` as well."""
    put(root, {"proc/self/mountinfo": MOUNTINFO[layout]})
    groups = root / "sys/fs/cgroup"
    if layout == "v2":
        put(root, {"proc/self/cgroup": f"0::{own}\n"})
        every = "cpuset cpu io memory hugetlb pids rdma\n"
        put(groups, {"cgroup.controllers": every, "cgroup.subtree_control": every, "cgroup.procs": "1\n",
                     "cpuset.cpus.effective": "0-3\n", "cpuset.mems.effective": "0\n"})  # fmt: skip
        group(groups / "system.slice")
        return groups
    lines = [f"{place}:{names}:{own}" for place, names in enumerate((*_V1_FILES, "name=systemd"))]
    put(root, {"proc/self/cgroup": "\n".join((*lines, f"0::{own}")) + "\n"})
    for names, files in _V1_FILES.items():
        put(groups / names, dict.fromkeys((*files, "cgroup.procs"), ""))
    put(groups / "cpuset", {"cpuset.cpus": "0-3\n", "cpuset.mems": "0\n"})
    (groups / "systemd").mkdir()
    return groups


def group(path: Path, *, controllers: str = "cpuset cpu io memory pids", processes: str = "") -> Path:
    """Make a group of version 2 that is not the root."""
    put(path, {"cgroup.controllers": f"{controllers}\n", "cgroup.subtree_control": "", "cgroup.procs": processes,
               "cgroup.type": "domain\n", "cgroup.freeze": "0\n", "memory.stat": "", "memory.swap.max": "max\n",
               "io.stat": "", "io.weight": "default 100\n"})  # fmt: skip
    return path

"""Control groups of a container whose monitor is gone. Does I/O."""

from __future__ import annotations

from firkin.containers.documents.record import Record
from firkin.containers.limits.devices import DeviceFacts
from firkin.containers.limits.facts import CgroupFacts
from firkin.containers.limits.plan import plan_limits
from firkin.errors import ContainerError
from firkin.linux.cgroups import kill_groups, remove_groups


def clear_groups(record: Record, facts: CgroupFacts) -> bool:
    """Kill what is left in a container's groups and remove them; say whether nothing is left."""
    from msgspec.structs import replace

    # The limits do not matter, and must not be refused now.
    host = replace(record.host_config, cpuset_cpus="", cpuset_mems="", blkio_weight_device=None,
                   blkio_device_read_bps=None, blkio_device_write_bps=None, blkio_device_read_iops=None,
                   blkio_device_write_iops=None)  # fmt: skip
    try:
        groups = plan_limits(record.id, host, facts, "warn", DeviceFacts()).groups
    except ContainerError:
        return True  # with such a parent it never ran
    return groups is None or (kill_groups(groups) and remove_groups(groups))

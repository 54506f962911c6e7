"""What a container's processes may do: capabilities, what is hidden from them, and the options of `security_opt`. Pure.

Mirrors: moby oci/caps.TweakCapabilities, daemon parseSecurityOpt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from firkin.errors import ContainerError

if TYPE_CHECKING:
    from firkin.containers.documents.config import HostConfig

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Names of capabilities without CAP_, by number (linux/capability.h)."""
DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Docker's lists of what is covered in /proc and /sys, and what cannot be written there (moby oci/defaults.go)."""
_TRUE = ("true", "1", "t")


class Security(msgspec.Struct, frozen=True):
    """`seccomp` is "" for the default profile, "unconfined", or the JSON text of one; `apparmor` is "" for none."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    labels: tuple[str, ...] = ()
    systempaths: str = ""
    writable_cgroups: bool = False


def capability_names(add: tuple[str, ...], drop: tuple[str, ...], *, privileged: bool) -> tuple[str, ...]:
    """Return the names (without CAP_) of a container's capabilities. Raises ContainerError for an unknown one."""
    if privileged:
        return CAPABILITIES
    added, dropped = _known(add), _known(drop)
    if "ALL" in added:
        return tuple(name for name in CAPABILITIES if name not in dropped)
    if "ALL" in dropped:
        return tuple(name for name in CAPABILITIES if name in added)
    kept = (set(DEFAULT_CAPABILITIES) - dropped) | added
    return tuple(name for name in CAPABILITIES if name in kept)


def capability_mask(names: tuple[str, ...]) -> int:
    """Return the bits of capabilities by their names."""
    return sum(1 << CAPABILITIES.index(name) for name in names)


def _known(names: tuple[str, ...]) -> set[str]:
    found = set()
    for text in names:
        name = text.strip().upper().removeprefix("CAP_")
        if name != "ALL" and name not in CAPABILITIES:
            raise ContainerError(f"invalid capability: `{text}`", kind="invalid", code="container-capability")
        found.add(name)
    return found


def hidden_paths(host: HostConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what a container sees nothing of, and what it cannot write, in /proc and /sys. Raises ContainerError."""
    if host.privileged or parse_security(host.security_opt or ()).systempaths == "unconfined":
        return (), ()
    return (
        MASKED_PATHS if host.masked_paths is None else host.masked_paths,
        READONLY_PATHS if host.readonly_paths is None else host.readonly_paths,
    )


def has_filter(host: HostConfig) -> bool:
    """Say whether a container's system calls are filtered; those of a privileged one only if somebody asked for it."""
    profile = parse_security(host.security_opt or ()).seccomp
    return profile != "unconfined" and bool(profile or not host.privileged)


def parse_security(options: tuple[str, ...]) -> Security:
    """Return what the texts of `security_opt` say. Raises ContainerError."""
    seen: dict[str, str] = {}
    labels = []
    for text in options:
        if text in ("no-new-privileges", "disable"):
            key, value = text, "true"
        else:
            split = "=" if "=" in text else ":"
            key, found, value = text.partition(split)
            if not found:
                raise ContainerError(f"invalid security option: {text}", kind="invalid", code="security-option")
        if key == "label":
            labels.append(value)
        elif key in ("no-new-privileges", "seccomp", "apparmor", "systempaths", "writable-cgroups"):
            seen[key] = value
        else:
            raise ContainerError(f"invalid security option: {text}", kind="invalid", code="security-option")
    seccomp = seen.get("seccomp", "")
    return Security(
        seen.get("no-new-privileges", "false").lower() in _TRUE,
        "" if seccomp == "builtin" else seccomp,
        seen.get("apparmor", ""),
        tuple(labels),
        seen.get("systempaths", ""),
        seen.get("writable-cgroups", "false").lower() in _TRUE,
    )

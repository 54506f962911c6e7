"""The part of a plan that describes the command itself, with mounts or without. Pure."""

from __future__ import annotations

from firkin.errors import UsageError
from firkin.oci.run import Mount, RunSpec
from firkin.oci.run_settings import ULIMITS
from firkin.sandbox.filters import ask_filter, asked_calls, deny_filter, limits_filter, strangers_filter
from firkin.sandbox.operations import Command, Confinement, Questions

# Docker's default: chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw
# sys_chroot mknod audit_write setfcap.
DEFAULT_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
ALL_CAPABILITIES = -1


def plan_command(
    spec: RunSpec,
    *,
    switch: bool = True,
    keep: int,
    no_new_privs: bool = False,
    filters: tuple[bytes, ...] = (),
    chroot: str = "",
    devices: tuple[tuple[str, int, int], ...] = (),
) -> Command:
    """Return what process C becomes; see the fields of Command. Raises UsageError for an unknown limit."""
    limits = []
    for limit in spec.ulimits:
        if limit.name not in ULIMITS:
            known = ", ".join(sorted(ULIMITS))
            raise UsageError(f"unknown ulimit `{limit.name}`", code="ulimit", hints=(f"known are {known}",))
        limits.append((limit.name, ULIMITS[limit.name], limit.soft, limit.hard))
    return Command(
        argv=spec.argv,
        arg0=spec.arg0 or "",
        env=dict(spec.env),
        cwd=spec.cwd or "/",
        uid=spec.uid,
        gid=spec.gid,
        groups=spec.groups,
        umask=spec.umask,
        limits=tuple(limits),
        terminal=spec.terminal,
        switch=switch,
        keep=keep,
        no_new_privs=no_new_privs,
        filters=filters,
        chroot=chroot,
        devices=devices,
    )


def plan_questions(machine: str, *, owners: bool, sockets: bool) -> Questions | None:
    """Return how the command's calls are answered, None if none need an answer."""
    program = ask_filter(machine, owners=owners, sockets=sockets) if owners or sockets else b""
    if not program:
        return None
    instead = ask_filter(machine, owners=owners, sockets=sockets, heard=False)
    return Questions(owners, program, instead, asked_calls(machine))


def plan_confinement(spec: RunSpec, machine: str, *, shared: bool) -> Confinement | None:
    """Return what separates a command from others, None for an insecure step; `shared`: it sees other processes."""
    if spec.security == "insecure":
        return None
    filters = known_filters(deny_filter(machine)) + (known_filters(limits_filter(machine)) if shared else ())
    return Confinement(shared, filters, known_filters(strangers_filter(machine)))


def known_filters(program: bytes) -> tuple[bytes, ...]:
    """Return the program, or nothing if `filters` does not know the machine."""
    return (program,) if program else ()


def hosts_file(spec: RunSpec) -> bytes:
    """Return /etc/hosts as BuildKit writes it: loopback names, the host name, the user's entries, in order."""
    lines = [
        f"127.0.0.1\tlocalhost {spec.hostname}",
        "::1\tlocalhost ip6-localhost ip6-loopback",
    ]
    lines += [f"{address}\t{name}" for name, address in spec.hosts]
    return ("\n".join(lines) + "\n").encode()


def sorted_mounts(spec: RunSpec) -> list[Mount]:
    """Return the mounts from the root down, in the order of mounting."""
    return sorted(spec.mounts, key=lambda mount: mount.target.rstrip("/").count("/"))


def checked_target(target: str) -> str:
    """Return a mount's target in its simplest form. Raises UsageError for an invalid one."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if not target.startswith("/") or not parts or ".." in parts or parts[0] == "proc" or "\0" in target:
        raise UsageError(f"invalid mount target `{target}`", code="mount-target")
    return "/" + "/".join(parts)

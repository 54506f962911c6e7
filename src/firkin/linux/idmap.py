"""Maps between ids inside and outside a user namespace. Does I/O. Any module from `linux` upwards may import it.

Four mappings, best first: none (root with the right to mount needs no user namespace) · all ids of
this namespace (root without that right) · own id plus subordinate ids (from `/etc/subuid`; the setuid programs
newuidmap and newgidmap write the maps) · own id only. See user_namespaces(7), subuid(5), newuidmap(1).
"""

from __future__ import annotations

import os

import msgspec

from firkin.errors import HostError

_SUBUID = "/etc/subuid"
_SUBGID = "/etc/subgid"


class IdRange(msgspec.Struct, frozen=True):
    """`count` ids: `inside`, `inside`+1, ... in the namespace are `outside`, `outside`+1, ... outside of it."""

    inside: int
    outside: int
    count: int


class IdMaps(msgspec.Struct, frozen=True):
    """The maps of one user namespace; `helpers` are newuidmap and newgidmap, "" to write directly."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    helpers: tuple[str, str] = ("", "")
    deny_setgroups: bool = False

    @property
    def single_id(self) -> bool:
        """Say whether there is only one id, so that owners cannot be changed."""
        return sum(entry.count for entry in self.uids) == 1


def read_subordinate_ids(text: str, name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """Return (first, count) of every range that subuid(5) `text` gives to a user, by name or number."""
    ranges = []
    for line in text.splitlines():
        fields = line.split("#")[0].strip().split(":")
        if len(fields) == 3 and fields[0] in (name, str(uid)) and fields[1].isdigit() and fields[2].isdigit():
            if int(fields[2]) > 0:
                ranges.append((int(fields[1]), int(fields[2])))
    return tuple(ranges)


def read_subid_file(path: str, name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges of one file; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return read_subordinate_ids(file.read(), name, uid)
    except OSError:
        return ()


def subordinate_uids(name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """Return the subordinate user ids of a user."""
    return read_subid_file(_SUBUID, name, uid)


def subordinate_gids(name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """Return the subordinate group ids of a user."""
    return read_subid_file(_SUBGID, name, uid)


def subordinate_maps(
    uid: int,
    gid: int,
    uids: tuple[tuple[int, int], ...],
    gids: tuple[tuple[int, int], ...],
    helpers: tuple[str, str],
) -> IdMaps:
    """Return maps with the own id as 0 and the subordinate ranges from 1 on."""
    return IdMaps(_stack(uid, uids), _stack(gid, gids), helpers)


def single_maps(uid: int, gid: int) -> IdMaps:
    """Return maps with the own id as 0 and nothing else."""
    return IdMaps((IdRange(0, uid, 1),), (IdRange(0, gid, 1),), deny_setgroups=True)


def identity_maps() -> IdMaps:
    """Return maps that keep every id of the namespace this process is in. Raises OSError."""
    return IdMaps(_identity("/proc/self/uid_map"), _identity("/proc/self/gid_map"))


def _identity(path: str) -> tuple[IdRange, ...]:
    with open(path, encoding="ascii") as file:
        rows = [[int(word) for word in line.split()] for line in file]
    return tuple(IdRange(inside, inside, count) for inside, _, count in rows)


def _stack(own: int, ranges: tuple[tuple[int, int], ...]) -> tuple[IdRange, ...]:
    rows = [IdRange(0, own, 1)]
    for first, count in ranges:
        rows.append(IdRange(rows[-1].inside + rows[-1].count, first, count))
    return tuple(rows)


def write_id_maps(pid: int, maps: IdMaps) -> None:
    """Write the maps of the user namespace that process `pid` has just made; this process is outside of it.

    Raises HostError with the message of newuidmap or the kernel's error.
    """
    for name, ranges, helper in (("uid", maps.uids, maps.helpers[0]), ("gid", maps.gids, maps.helpers[1])):
        if helper:
            words = [str(word) for row in ranges for word in (row.inside, row.outside, row.count)]
            _run_helper([helper, str(pid), *words])
            continue
        try:
            if name == "gid" and maps.deny_setgroups:
                _write(f"/proc/{pid}/setgroups", "deny")
            rows = "".join(f"{row.inside} {row.outside} {row.count}\n" for row in ranges)
            _write(f"/proc/{pid}/{name}_map", rows)
        except OSError as error:
            raise HostError(
                f"cannot write the {name} map of a user namespace: {(error.strerror or '').lower()}", code="id-map"
            ) from error


def _write(path: str, text: str) -> None:
    # The kernel takes a map only in a single write.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def _run_helper(argv: list[str]) -> None:
    read_end, write_end = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, write_end, 2)]
        pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, file_actions=actions)
    except OSError as error:
        os.close(read_end)
        raise HostError(f"cannot run `{argv[0]}`: {(error.strerror or '').lower()}", code="id-map") from error
    finally:
        os.close(write_end)
    with open(read_end, "rb") as file:
        said = file.read(4096)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        text = said.decode("utf-8", "replace").strip() or f"exit code {status}"
        raise HostError(
            f"cannot write the map of a user namespace: {text}",
            code="id-map",
            hints=("check the ranges of this user in /etc/subuid and /etc/subgid, and that newuidmap is setuid root",),
        )

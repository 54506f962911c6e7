"""Users and groups of an image: texts of passwd(5) and group(5) to ids. Pure.

The file is also a part of the stand-alone program of containers (`sandbox/spawn.py`): all parts share its global names,
so it imports nothing. Mirrors: moby/sys user.GetExecUser and GetAdditionalGroups.
"""

from __future__ import annotations

# As in moby/sys/user. The kernel has one bit more; (uid_t)-1 means no change.
LARGEST_USER_ID = 0x7FFFFFFF


class NoSuchId(ValueError):
    """A name without an entry, or a number out of range: `what` is "user" or "group"; `missing` tells which."""

    def __init__(self, what: str, text: str, missing: bool) -> None:
        file = "passwd" if what == "user" else "group"
        told = f"no matching entries in {file} file" if missing else "uids and gids must be in range 0-2147483647"
        super().__init__(f"unable to find {what} {text}: {told}" if missing else told)
        self.what, self.text, self.missing = what, text, missing


def find_user(text: str, passwd: bytes, group: bytes) -> tuple[int, int, tuple[int, ...], str]:
    """Return uid, gid, supplementary groups and home ("" without an entry) for "user[:group]", names or numbers.

    `u:g` has that group only, `u` the primary and supplementary groups of the files; a number needs no entry. The
    supplementary groups always include the primary one (CVE-2023-25173). Raises NoSuchId.
    """
    user_text, _, group_text = text.partition(":")
    groups = records_of(group, 3)
    name, uid, gid, home = find_entry(user_text, records_of(passwd, 6))
    if group_text:
        gid = find_group(group_text, groups)
        return uid, gid, (gid,), home
    members = [id_of(record[2], "group") for record in groups if len(record) > 3 and name in record[3].split(",")]
    return uid, gid, tuple(dict.fromkeys((gid, *members))), home


def find_groups(texts: tuple[str, ...], group: bytes) -> tuple[int, ...]:
    """Return the ids of groups by names or numbers. Raises NoSuchId."""
    groups = records_of(group, 3)
    return tuple([find_group(text, groups) for text in texts])


def find_entry(text: str, users: list[list[str]]) -> tuple[str | None, int, int, str]:
    """Return the name (None without an entry), uid, primary gid and home of a user. Raises NoSuchId."""
    uid = number_of_text(text or "0", "user")
    for record in users:
        if record[0] == text if uid is None else small_number(record[2]) == uid:
            return record[0], id_of(record[2], "user"), id_of(record[3], "group"), record[5] or "/"
    if uid is None:
        raise NoSuchId("user", text, True)
    return None, uid, 0, ""


def find_group(text: str, groups: list[list[str]]) -> int:
    """Return the id of a group. Raises NoSuchId."""
    gid = number_of_text(text, "group")
    if gid is not None:
        return gid
    for record in groups:
        if record[0] == text:
            return id_of(record[2], "group")
    raise NoSuchId("group", text, True)


def records_of(text: bytes, at_least: int) -> list[list[str]]:
    """Return the lines of passwd(5) or group(5) whose numeric fields are valid."""
    records = []
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        record = line.strip().split(":")
        if line.startswith("#") or len(record) < at_least:
            continue
        numbers = record[2:4] if at_least == 6 else record[2:3]
        if all(number.isascii() and number.isdigit() for number in numbers):
            records.append(record)
    return records


def number_of_text(text: str, what: str) -> int | None:
    """Return a numeric id, None for a name. Raises NoSuchId beyond 2**31 - 1."""
    return id_of(text, what) if text.isascii() and text.isdigit() else None


def id_of(digits: str, what: str) -> int:
    """Return the number of some digits. Raises NoSuchId beyond 2**31 - 1."""
    number = small_number(digits)
    if number is None:
        raise NoSuchId(what, digits[:20], False)
    return number


def small_number(digits: str) -> int | None:
    """Return the number of digits, None above the largest id; `int` would convert 4300 of them, slowly."""
    short = digits.lstrip("0") or "0"
    if len(short) > 10:
        return None
    number = int(short)
    return number if number <= LARGEST_USER_ID else None

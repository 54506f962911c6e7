"""What a RUN command is and what surrounds it. P; `sandbox` and the modules above it may import it.

Numbers are as the command sees them (inside its user namespace); paths of targets are those of the
image, paths of sources those of the host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from firkin.errors import DockerfileError
from firkin.text import LARGEST_ID, whole_number

Network = Literal["default", "host", "none"]
Security = Literal["sandbox", "insecure"]

DEFAULT_HOSTNAME = "buildkitsandbox"  # what steps write down of it should not depend on the builder
DEFAULT_SHM_BYTES = 64 << 20
DEFAULT_UMASK = 0o022

# getrlimit(2); the numbers hold for x86, arm, riscv and s390.
ULIMITS = {
    "core": 4, "cpu": 0, "data": 2, "fsize": 1, "locks": 10, "memlock": 8, "msgqueue": 12, "nice": 13,
    "nofile": 7, "nproc": 6, "rss": 5, "rtprio": 14, "rttime": 15, "sigpending": 11, "stack": 3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BindMount:
    """A file or directory of the host, or the merged view of layers.

    `lowers` has one path (a directory, a file or a socket) or several layer directories, from the
    top down. `path` is looked up beneath them and cannot lead out; None takes the one path itself.
    With `readonly` false writes reach the source, unless `discard` (layers always discard).
    """

    target: str
    lowers: tuple[str, ...]
    path: str | None = None
    readonly: bool = True
    discard: bool = False


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """An empty memory file system; without `mode` it has that of the directory it covers, or 1777."""

    target: str
    size_bytes: int | None = None
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class FileMount:
    """A file with the given bytes, which never touch a disk: a secret, a heredoc script."""

    target: str
    content: bytes = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


Mount = BindMount | TmpfsMount | FileMount


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A resource limit; -1 means unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One command. `env` must hold PATH if argv[0] is to be looked up; standard input is /dev/null."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    arg0: str | None = None
    hostname: str = DEFAULT_HOSTNAME
    network: Network = "default"
    security: Security = "sandbox"
    hosts: tuple[tuple[str, str], ...] = ()  # name, address
    resolv_conf: bytes = b""
    shm_size_bytes: int = DEFAULT_SHM_BYTES
    ulimits: tuple[Ulimit, ...] = ()
    mounts: tuple[Mount, ...] = ()
    umask: int = DEFAULT_UMASK


@dataclass(frozen=True, slots=True)
class ExecError:
    """The command could not be executed: `errno` and the `path` that was tried."""

    errno: int
    path: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a command ended; `signal` is 0 unless it was killed by one.

    `covered` are paths of the root that something else was put over for a while, in place of a mount. `owners` are
    what the command gave files by chown where they can have one owner only: path, uid, gid, -1 for what it left as
    it was. `unheard` is the errno of why they could not be noted, or sockets of 32-bit programs judged; 0 otherwise.
    """

    exit_code: int
    signal: int = 0
    exec_error: ExecError | None = None
    cancelled: bool = False
    warnings: tuple[str, ...] = ()
    covered: tuple[str, ...] = ()
    owners: tuple[tuple[str, int, int], ...] = ()
    unheard: int = 0


@dataclass(frozen=True, slots=True)
class ResolvedUser:
    """Numbers and home directory of a USER; `home` is "/" where the image does not know."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def hosts_file(spec: RunSpec) -> bytes:
    """Return /etc/hosts as BuildKit writes it: loopback names, the host name, what the user added, in order."""
    lines = [
        f"127.0.0.1\tlocalhost {spec.hostname}",
        "::1\tlocalhost ip6-localhost ip6-loopback",
    ]
    lines += [f"{address}\t{name}" for name, address in spec.hosts]
    return ("\n".join(lines) + "\n").encode()


def resolve_user(text: str, passwd: bytes, group: bytes) -> ResolvedUser:
    """Return the numbers behind `USER text` ("user[:group]", names or numbers) in an image.

    `passwd` and `group` are the image's files, b"" where it has none. `u:g` runs with that group
    only, `u` with the primary and supplementary groups of the image; a number needs no entry.
    The primary group always stands among the supplementary ones (CVE-2023-25173).
    Raises DockerfileError for an unknown name. Mirrors: moby/sys user.GetExecUser, buildkit oci.GetUser.
    """
    user_text, _, group_text = text.partition(":")
    users = _records(passwd, 6)
    groups = _records(group, 3)
    uid = _number(user_text, "user") if user_text else 0
    if uid is None:
        entry = next((record for record in users if record[0] == user_text), None)
    else:
        entry = next((record for record in users if whole_number(record[2], LARGEST_ID) == uid), None)
    if entry is not None:
        uid, gid, home = _id(entry[2], "user"), _id(entry[3], "group"), entry[5] or "/"
    elif uid is not None:
        gid, home = 0, "/" if uid else "/root"
    else:
        raise DockerfileError(
            f"unable to find user `{user_text}`: no such name in the image's /etc/passwd",
            code="user-unknown",
            hints=("create the user in an earlier RUN step, or give its number",),
        )
    if group_text:
        wanted = _number(group_text, "group")
        if wanted is None:
            found = next((record for record in groups if record[0] == group_text), None)
            if found is None:
                raise DockerfileError(
                    f"unable to find group `{group_text}`: no such name in the image's /etc/group",
                    code="group-unknown",
                    hints=("create the group in an earlier RUN step, or give its number",),
                )
            wanted = _id(found[2], "group")
        return ResolvedUser(uid, wanted, (wanted,), home)
    name = entry[0] if entry is not None else None
    members = (_id(record[2], "group") for record in groups if len(record) > 3 and name in record[3].split(","))
    return ResolvedUser(uid, gid, tuple(dict.fromkeys((gid, *members))), home)


def _records(text: bytes, at_least: int) -> list[list[str]]:
    """Return the lines of passwd(5) or group(5) whose numbers are numbers."""
    records = []
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        record = line.strip().split(":")
        if line.startswith("#") or len(record) < at_least:
            continue
        numbers = record[2:4] if at_least == 6 else record[2:3]
        if all(number.isascii() and number.isdigit() for number in numbers):
            records.append(record)
    return records


def _number(text: str, what: str) -> int | None:
    """Return a numeric id, None for a name. Raises DockerfileError beyond 2**31 - 1."""
    return _id(text, what) if text.isascii() and text.isdigit() else None


def _id(digits: str, what: str) -> int:
    number = whole_number(digits, LARGEST_ID)
    if number is None:
        raise DockerfileError(f"{what} id {digits[:20]} is out of range", code=f"{what}-range")
    return number

"""Seccomp programs for commands, as bytes of struct sock_filter. P; `ops` imports it.

Classic BPF over struct seccomp_data (seccomp(2)): number at 0, architecture at 4, low halves of the
arguments at 16, 24, ... on little-endian machines, which all of ours are but s390x.
"""

from __future__ import annotations

from dataclasses import dataclass

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_SET = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EPERM = 1
_ENOSYS = 38
_EAFNOSUPPORT = 97
_AF_UNIX, _AF_NETLINK = 1, 16

_X32_BIT = 0x40000000
_CLONE_NEW_ANY = 0x7E020000  # every namespace flag but CLONE_NEWTIME, which shares a bit with the exit signal


@dataclass(frozen=True, slots=True)
class Machine:
    """One system call table: its audit number and the numbers of calls by name."""

    audit: int
    calls: dict[str, int]


_X86_64 = Machine(
    0xC000003E,
    {
        "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
        "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114, "setgroups": 116,
        "setresuid": 117, "setresgid": 119, "mknod": 133, "mknodat": 259,
        "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "userfaultfd": 323,
        "perf_event_open": 298, "kexec_load": 246, "kexec_file_load": 320, "open_by_handle_at": 304,
        "clone": 56, "unshare": 272, "clone3": 435, "setns": 308, "socket": 41, "io_uring_setup": 425,
    },
)  # fmt: skip
_I386 = Machine(
    0x40000003,
    {
        "chown": 212, "fchown": 207, "lchown": 198, "fchownat": 298, "chown16": 182, "fchown16": 95, "lchown16": 16,
        "setuid": 213, "setgid": 214, "setreuid": 203, "setregid": 204, "setgroups": 206,
        "setresuid": 208, "setresgid": 210, "setuid16": 23, "setgid16": 46, "setreuid16": 70,
        "setregid16": 71, "setgroups16": 81, "setresuid16": 164, "setresgid16": 170,
        "add_key": 286, "request_key": 287, "keyctl": 288, "bpf": 357, "userfaultfd": 374,
        "perf_event_open": 336, "kexec_load": 283, "open_by_handle_at": 342,
        "clone": 120, "unshare": 310, "clone3": 435, "setns": 346,
        "socket": 359, "socketcall": 102, "io_uring_setup": 425,
    },
)  # fmt: skip
_AARCH64 = Machine(
    0xC00000B7,
    {
        "fchownat": 54, "fchown": 55,
        "setregid": 143, "setgid": 144, "setreuid": 145, "setuid": 146, "setresuid": 147, "setresgid": 149,
        "setgroups": 159,
        "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "userfaultfd": 282,
        "perf_event_open": 241, "kexec_load": 104, "kexec_file_load": 294, "open_by_handle_at": 265,
        "clone": 220, "unshare": 97, "clone3": 435, "setns": 268, "socket": 198, "io_uring_setup": 425,
    },
)  # fmt: skip
_RISCV64 = Machine(0xC00000F3, {name: number for name, number in _AARCH64.calls.items() if name != "kexec_file_load"})

# Tables that processes of a machine may use, by its uname.
_TABLES: dict[str, tuple[Machine, ...]] = {
    "x86_64": (_X86_64, _I386),
    "i686": (_I386,),
    "aarch64": (_AARCH64,),
    "riscv64": (_RISCV64,),
}

_CHOWN = ("chown", "fchown", "lchown", "fchownat", "chown16", "fchown16", "lchown16")
_IDENTITY = (
    "setuid", "setgid", "setreuid", "setregid", "setgroups", "setresuid", "setresgid",
    "setuid16", "setgid16", "setreuid16", "setregid16", "setgroups16", "setresuid16", "setresgid16",
)  # fmt: skip
_DENIED = (
    "add_key", "request_key", "keyctl", "bpf", "userfaultfd", "perf_event_open", "kexec_load", "kexec_file_load",
    "open_by_handle_at",
)  # fmt: skip


def mute_ids_filter(machine: str) -> bytes:
    """Return a program that answers success to changes of owner and identity and does nothing.

    For a user namespace with one id, where every such call would fail. b"" for an unknown machine.
    Mirrors: systemd/mkosi mkosi/sandbox.py (seccomp_suppress).
    """
    return _program(machine, dict.fromkeys((*_CHOWN, *_IDENTITY), _ERRNO | 0))


def deny_filter(machine: str) -> bytes:
    """Return a program that refuses what an ordinary build never needs and attacks on the kernel do.

    Kernel keyrings, BPF, userfaultfd, perf and new namespaces: a part of Docker's default profile.
    b"" for an unknown machine.
    """
    verdicts = dict.fromkeys(_DENIED, _ERRNO | _EPERM)
    # glibc falls back to clone, whose flags can be read, where clone3 does not exist.
    verdicts["clone3"] = _ERRNO | _ENOSYS
    return _program(machine, verdicts, namespaces=True)


def network_filter(machine: str) -> bytes:
    """Return a program that refuses every socket but those of this machine's own processes.

    For `network: none` where no network namespace can be had. b"" for an unknown machine.
    """
    # socketcall hides its arguments in memory, io_uring makes sockets of its own.
    return _program(machine, {"socketcall": _ERRNO | _EPERM, "io_uring_setup": _ERRNO | _ENOSYS}, sockets=True)


def _program(machine: str, verdicts: dict[str, int], *, namespaces: bool = False, sockets: bool = False) -> bytes:
    lines: list[bytes] = []
    for table in _TABLES.get(machine, ()):
        block: list[bytes] = []
        if table is _X86_64:
            # The x32 table would be a way around every number below.
            block += [_line(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _line(_RETURN, _ERRNO | _ENOSYS)]
        if namespaces:
            for name in ("clone", "unshare"):
                block += [
                    _line(_JUMP_EQUAL, table.calls[name], 0, 4),
                    _line(_LOAD, 16),
                    _line(_JUMP_SET, _CLONE_NEW_ANY, 0, 1),
                    _line(_RETURN, _ERRNO | _EPERM),
                    _line(_RETURN, _ALLOW),
                ]
        if sockets:
            block += [
                _line(_JUMP_EQUAL, table.calls["socket"], 0, 5),
                _line(_LOAD, 16),
                _line(_JUMP_EQUAL, _AF_UNIX, 2, 0),
                _line(_JUMP_EQUAL, _AF_NETLINK, 1, 0),
                _line(_RETURN, _ERRNO | _EAFNOSUPPORT),
                _line(_RETURN, _ALLOW),
            ]
        for name, verdict in verdicts.items():
            if name in table.calls:
                block += [_line(_JUMP_EQUAL, table.calls[name], 0, 1), _line(_RETURN, verdict)]
        block.append(_line(_RETURN, _ALLOW))
        lines += [_line(_LOAD, 4), _line(_JUMP_EQUAL, table.audit, 0, len(block) + 1), _line(_LOAD, 0), *block]
    if not lines:
        return b""
    return b"".join([*lines, _line(_RETURN, _ALLOW)])


def _line(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return code.to_bytes(2, "little") + bytes((if_true, if_false)) + k.to_bytes(4, "little")

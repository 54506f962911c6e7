"""Seccomp programs for commands, as bytes of struct sock_filter. Pure.

Classic BPF over struct seccomp_data (seccomp(2)): number at 0, architecture at 4, low halves of the arguments at
16, 24, ... on little-endian machines, the only ones that firkin supports. A machine may run programs of several
architectures with different call numbers, so a program has one block for each; other architectures are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firkin.sandbox.calls import ARM, ARM_PRIVATE, MACHINES, NEWEST, Table, number_of

if TYPE_CHECKING:
    from collections.abc import Callable

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_ABOVE = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_SET = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND, _THIRD = 0, 4, 16, 24, 32

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = _ERRNO | 1, _ERRNO | 38, _ERRNO | 97
_SUCCESS = _ERRNO | 0
_NOTIFY = 0x7FC00000

_SYS_SOCKET = 1  # of socketcall(2)
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _AF_PACKET = 1, 2, 10, 16, 17
_SOCK_TYPE, _SOCK_RAW, _SOCK_PACKET = 0xF, 3, 10
_IPPROTO_ICMP, _IPPROTO_ICMPV6 = 1, 58

# All namespace flags; CLONE_NEWTIME shares a bit with the exit signal of clone, so clone cannot have it.
_CLONE_NEW_ANY = 0x7E020000
_UNSHARE_NEW_ANY = _CLONE_NEW_ANY | 0x80
# PER_LINUX, PER_LINUX32, both with UNAME26, and the query of the current personality.
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)

_CHOWN = ("chown", "fchown", "lchown", "fchownat", "chown16", "fchown16", "lchown16")
_IDENTITY = (
    "setuid", "setgid", "setreuid", "setregid", "setgroups", "setresuid", "setresgid",
    "setuid16", "setgid16", "setreuid16", "setregid16", "setgroups16", "setresuid16", "setresgid16",
)  # fmt: skip
# The calls that Docker's default profile refuses, or allows only with capabilities that no command has. Calls that
# were replaced in the nineties are missing here, since they do no harm.
_DENIED = (
    "_sysctl", "acct", "add_key", "afs_syscall", "bpf", "clock_settime", "clock_settime64", "create_module",
    "delete_module", "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms",
    "get_mempolicy", "getpmsg", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm",
    "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "lsm_get_self_attr",
    "lsm_list_modules", "lsm_set_self_attr", "mbind", "migrate_pages", "mount", "mount_setattr", "move_mount",
    "move_pages", "nfsservctl", "open_by_handle_at", "open_tree", "pciconfig_iobase", "pciconfig_read",
    "pciconfig_write", "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "putpmsg", "query_module",
    "quotactl", "quotactl_fd", "reboot", "request_key", "security", "set_mempolicy", "set_mempolicy_home_node",
    "setdomainname", "sethostname", "setns", "settimeofday", "stime", "swapoff", "swapon", "sysfs", "syslog",
    "tuxcall", "umount", "umount2", "uselib", "userfaultfd", "ustat", "vhangup", "vm86", "vm86old", "vserver",
)  # fmt: skip
_INTO_OTHERS = ("ptrace", "process_vm_readv", "process_vm_writev")


def ask_filter(machine: str, *, owners: bool, sockets: bool, heard: bool = True) -> bytes:
    """Return a program that asks a listener about calls that a filter cannot judge (`init/listener.py`).

    `owners`: ask about chown in a user namespace with one id, where every such call would fail; set*id calls then
    succeed without effect. `sockets`: ask about socketcall, whose arguments are in memory. With `heard` false the
    program needs no listener. Returns b"" if there is nothing to ask, and for an unknown machine.
    Mirrors: systemd/mkosi mkosi/sandbox.py (seccomp_suppress).
    """
    tables = MACHINES.get(machine, ())
    if not owners and not any(number_of("socketcall", table) for table in tables):
        return b""

    def block(table: Table) -> list[bytes]:
        lines = _verdict(table, _CHOWN, _NOTIFY if heard else _SUCCESS) if owners else []
        lines += _verdict(table, _IDENTITY, _SUCCESS) if owners else []
        judged = [
            _line(_LOAD, _FIRST),
            _line(_JUMP_EQUAL, _SYS_SOCKET, 0, 1),
            _line(_RETURN, _NOTIFY if heard else _ENOSYS),
            _line(_RETURN, _ALLOW),
        ]
        return lines + (_when(table, "socketcall", judged) if sockets else [])

    return _program(machine, block, _ALLOW)


def asked_calls(machine: str) -> dict[tuple[int, int], str]:
    """Return the calls that a listener may receive: (architecture, number) → name."""
    calls = {}
    for table in MACHINES.get(machine, ()):
        for name in (*_CHOWN, "socketcall"):
            number = number_of(name, table)
            if number is not None:
                calls[table.audit, number] = name
    return calls


def deny_filter(machine: str) -> bytes:
    """Return a program that refuses calls which ordinary builds never need and attacks on the kernel do.

    It follows Docker's default profile; calls that the profile does not know yet give ENOSYS. Sockets are stricter, as
    steps share the network of the host: only internet sockets (raw ones only for ICMP), UNIX sockets and netlink are
    allowed. `ask_filter` handles socketcall. Returns b"" for an unknown machine.
    Mirrors: moby/profiles seccomp/default.json.
    """
    return _program(machine, _denied, _ENOSYS)


def strangers_filter(machine: str) -> bytes:
    """Return a program that refuses to look into processes, for steps that see those of others.

    For kernels whose Landlock does not separate a command from other processes. b"" for an unknown machine.
    """
    return _program(machine, lambda table: _verdict(table, _INTO_OTHERS, _EPERM), _ALLOW)


def limits_filter(machine: str) -> bytes:
    """Return a program that refuses to change another process's limits, for steps that see those of others.

    The kernel allows this to any process of the same uid, and Landlock does not restrict it: a limit on seconds or
    files can end a process like a signal. A process may change its own limits (pid 0). b"" for an unknown machine.
    """
    judged = [
        _line(_LOAD, _FIRST),
        _line(_JUMP_EQUAL, 0, 5),
        _line(_LOAD, _THIRD),  # pointer to the new limit; 0 if there is none
        _line(_JUMP_EQUAL, 0, 0, 2),
        _line(_LOAD, _THIRD + 4),
        _line(_JUMP_EQUAL, 0, 1),
        _line(_RETURN, _EPERM),
        _line(_RETURN, _ALLOW),
    ]
    return _program(machine, lambda table: _when(table, "prlimit64", judged), _ALLOW)


def network_filter(machine: str) -> bytes:
    """Return a program that refuses every socket except UNIX and netlink sockets.

    For `network: none` without a network namespace. b"" for an unknown machine.
    """
    return _program(machine, _cut_off, _EPERM)


def _denied(table: Table) -> list[bytes]:
    lines: list[bytes] = []
    if table is ARM:
        lines += [_line(_JUMP_AT_LEAST, ARM_PRIVATE, 0, 1), _line(_RETURN, _ALLOW)]
    # Includes all numbers with the bit of the x32 table, which would bypass every test below.
    lines += [_line(_JUMP_ABOVE, NEWEST, 0, 1), _line(_RETURN, _ENOSYS)]
    lines += _verdict(table, _DENIED, _EPERM)
    # If clone3 does not exist, glibc falls back to clone, whose flags a filter can read.
    lines += _verdict(table, ("clone3",), _ENOSYS)
    for name, flags in (("clone", _CLONE_NEW_ANY), ("unshare", _UNSHARE_NEW_ANY)):
        refused = [_line(_LOAD, _FIRST), _line(_JUMP_SET, flags, 0, 1), _line(_RETURN, _EPERM), _line(_RETURN, _ALLOW)]
        lines += _when(table, name, refused)
    known = [_line(_JUMP_EQUAL, number, len(_PERSONALITIES) - at) for at, number in enumerate(_PERSONALITIES)]
    lines += _when(table, "personality", [_line(_LOAD, _FIRST), *known, _line(_RETURN, _EPERM), _line(_RETURN, _ALLOW)])
    return lines + _when(table, "socket", _socket())


def _socket() -> list[bytes]:
    """Judge a socket by family, type and protocol."""
    families = (
        (_AF_UNIX, [_line(_RETURN, _ALLOW)]),
        (_AF_NETLINK, [_line(_RETURN, _ALLOW)]),
        (_AF_INET, _internet(_IPPROTO_ICMP)),
        (_AF_INET6, _internet(_IPPROTO_ICMPV6)),
        (_AF_PACKET, [_line(_RETURN, _EPERM)]),
    )
    lines = [_line(_LOAD, _FIRST)]
    for family, judged in families:
        lines += [_line(_JUMP_EQUAL, family, 0, len(judged)), *judged]
    return [*lines, _line(_RETURN, _EAFNOSUPPORT)]


def _internet(echo: int) -> list[bytes]:
    """Allow raw sockets for `echo` (ping) only: other raw sockets receive the traffic of the whole host."""
    return [
        _line(_LOAD, _SECOND),
        _line(_AND, _SOCK_TYPE),
        _line(_JUMP_EQUAL, _SOCK_PACKET, 4, 0),  # the old name of AF_PACKET
        _line(_JUMP_EQUAL, _SOCK_RAW, 0, 2),
        _line(_LOAD, _THIRD),
        _line(_JUMP_EQUAL, echo, 0, 1),
        _line(_RETURN, _ALLOW),
        _line(_RETURN, _EPERM),
    ]


def _cut_off(table: Table) -> list[bytes]:
    judged = [
        _line(_LOAD, _FIRST),
        _line(_JUMP_EQUAL, _AF_UNIX, 2, 0),
        _line(_JUMP_EQUAL, _AF_NETLINK, 1, 0),
        _line(_RETURN, _EAFNOSUPPORT),
        _line(_RETURN, _ALLOW),
    ]
    # socketcall hides its arguments in memory, and io_uring makes sockets without socket(2).
    return [
        *_when(table, "socket", judged),
        *_verdict(table, ("socketcall",), _EPERM),
        *_verdict(table, ("io_uring_setup",), _ENOSYS),
    ]


def _verdict(table: Table, names: tuple[str, ...], verdict: int) -> list[bytes]:
    """Return `verdict` for those of the named calls that are in the table."""
    numbers = sorted(number for name in names if (number := number_of(name, table)) is not None)
    if not numbers:
        return []
    # One test per number. A jump reaches 255 lines; the longest list is shorter.
    tests = [_line(_JUMP_EQUAL, number, len(numbers) - at) for at, number in enumerate(numbers)]
    return [*tests, _line(_JUMP, 1), _line(_RETURN, verdict)]


def _when(table: Table, name: str, lines: list[bytes]) -> list[bytes]:
    """Return `lines`, which must end in a verdict, for the named call."""
    number = number_of(name, table)
    return [] if number is None else [_line(_JUMP_EQUAL, number, 0, len(lines)), *lines]


def _program(machine: str, block_of: Callable[[Table], list[bytes]], otherwise: int) -> bytes:
    """Join the blocks of a machine's architectures; `otherwise` is the verdict for other architectures."""
    lines: list[bytes] = []
    for table in MACHINES.get(machine, ()):
        block = [_line(_LOAD, _NUMBER), *block_of(table), _line(_RETURN, _ALLOW)]
        lines += [
            _line(_LOAD, _ARCHITECTURE),
            _line(_JUMP_EQUAL, table.audit, 1, 0),
            _line(_JUMP, len(block)),
            *block,
        ]
    return b"".join([*lines, _line(_RETURN, otherwise)]) if lines else b""


def _line(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return code.to_bytes(2, "little") + bytes((if_true, if_false)) + k.to_bytes(4, "little")

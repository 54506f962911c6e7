"""The seccomp programs, run by a small interpreter of classic BPF."""

import struct

import pytest

from firkin.sandbox.calls import MACHINES
from firkin.sandbox.filters import ask_filter, asked_calls, deny_filter, limits_filter, network_filter, strangers_filter

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
RISCV64, LOONGARCH64, S390X = 0xC00000F3, 0xC0000102, 0x80000016
ALLOW, EPERM, ENOSYS, EAFNOSUPPORT, MUTED = 0x7FFF0000, 0x50001, 0x50026, 0x50061, 0x50000
TOLD = 0x7FC00000  # SECCOMP_RET_USER_NOTIF
RAW, STREAM, DGRAM, CLOEXEC = 3, 1, 2, 0o2000000
ICMP, TCP, ICMPV6, ANY_RAW = 1, 6, 58, 255


def run(program: bytes, arch: int, number: int, *arguments: int) -> int:
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments, *(0,) * (6 - len(arguments)))
    lines = [struct.unpack_from("<HBBI", program, offset) for offset in range(0, len(program), 8)]
    at, value = 0, 0
    while True:
        code, yes, no, k = lines[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, k)
            case 0x54:
                value &= k
            case 0x05:
                at += k
            case 0x15:
                at += yes if value == k else no
            case 0x25:
                at += yes if value > k else no
            case 0x35:
                at += yes if value >= k else no
            case 0x45:
                at += yes if value & k else no
            case 0x06:
                return k
            case _:
                raise AssertionError(hex(code))


@pytest.mark.parametrize(
    ("machine", "arch", "number", "arguments", "verdict"),
    [
        ("x86_64", X86_64, 250, (), EPERM),  # keyctl
        ("x86_64", X86_64, 1, (), ALLOW),  # write
        ("x86_64", X86_64, 165, (), EPERM),  # mount
        ("x86_64", X86_64, 161, (), ALLOW),  # chroot, which Docker's capabilities include
        ("x86_64", X86_64, 101, (), ALLOW),  # ptrace, as Docker since Linux 4.8
        ("x86_64", X86_64, 312, (), EPERM),  # kcmp
        ("x86_64", X86_64, 438, (), EPERM),  # pidfd_getfd
        ("x86_64", X86_64, 425, (), EPERM),  # io_uring_setup
        ("x86_64", X86_64, 426, (), EPERM),
        ("x86_64", X86_64, 427, (), EPERM),
        ("x86_64", X86_64, 444, (), ALLOW),  # landlock_create_ruleset
        ("x86_64", X86_64, 461, (), EPERM),  # lsm_list_modules
        ("x86_64", X86_64, 466, (), ALLOW),  # removexattrat
        ("x86_64", X86_64, 467, (), ENOSYS),  # open_tree_attr, newer than the table
        ("x86_64", X86_64, 100_000, (), ENOSYS),
        ("x86_64", X86_64, 56, (0x11,), ALLOW),  # clone, a fork
        ("x86_64", X86_64, 56, (0x10000011,), EPERM),  # clone, CLONE_NEWUSER
        ("x86_64", X86_64, 272, (0x20000,), EPERM),  # unshare, CLONE_NEWNS
        ("x86_64", X86_64, 272, (0x80,), EPERM),  # unshare, CLONE_NEWTIME
        ("x86_64", X86_64, 272, (0x200,), ALLOW),  # unshare, CLONE_FS
        ("x86_64", X86_64, 435, (), ENOSYS),  # clone3
        ("x86_64", X86_64, 135, (8,), ALLOW),  # personality, PER_LINUX32
        ("x86_64", X86_64, 135, (0xFFFFFFFF,), ALLOW),
        ("x86_64", X86_64, 135, (0x40000,), EPERM),  # ADDR_NO_RANDOMIZE
        ("x86_64", X86_64, 0x40000000 + 250, (), ENOSYS),  # x32
        ("x86_64", X86_64, 0x40000000 + 1, (), ENOSYS),
        ("x86_64", X86_64, 0x40000000 + 41, (2, 3), ENOSYS),
        ("x86_64", I386, 288, (), EPERM),  # keyctl of a 32-bit program
        ("x86_64", I386, 425, (), EPERM),
        ("x86_64", I386, 250, (), ALLOW),
        ("x86_64", I386, 467, (), ENOSYS),
        ("x86_64", AARCH64, 64, (), ENOSYS),  # not an architecture of this machine
        ("x86_64", S390X, 4, (), ENOSYS),
        ("i686", X86_64, 250, (), EPERM),  # a 32-bit firkin starts 64-bit programs too
        ("aarch64", AARCH64, 219, (), EPERM),
        ("aarch64", AARCH64, 64, (), ALLOW),
        ("aarch64", ARM, 311, (), EPERM),  # keyctl of a 32-bit program
        ("aarch64", ARM, 425, (), EPERM),
        ("aarch64", ARM, 4, (), ALLOW),
        ("aarch64", ARM, 0xF0005, (), ALLOW),  # set_tls
        ("aarch64", ARM, 467, (), ENOSYS),
        ("aarch64", AARCH64, 0xF0005, (), ENOSYS),
        ("armv7l", ARM, 120, (0x10000011,), EPERM),
        ("riscv64", RISCV64, 219, (), EPERM),
        ("loongarch64", LOONGARCH64, 425, (), EPERM),
    ],
)
def test_refuses_what_builds_do_not_need(
    machine: str, arch: int, number: int, arguments: tuple[int, ...], verdict: int
) -> None:
    assert run(deny_filter(machine), arch, number, *arguments) == verdict


SOCKETS = [
    (("unix", 1, STREAM, 0), ALLOW),
    (("netlink", 16, RAW, 9), ALLOW),
    (("stream", 2, STREAM, TCP), ALLOW),
    (("close on exec", 10, STREAM | CLOEXEC, 0), ALLOW),
    (("ping", 2, RAW, ICMP), ALLOW),
    (("unprivileged ping", 2, DGRAM, ICMP), ALLOW),
    (("ping", 10, RAW | CLOEXEC, ICMPV6), ALLOW),
    (("raw tcp", 2, RAW, TCP), EPERM),
    (("raw anything", 2, RAW, ANY_RAW), EPERM),
    (("raw, close on exec", 2, RAW | CLOEXEC, TCP), EPERM),
    (("ICMP of the other family", 10, RAW, ICMP), EPERM),
    (("packet", 17, RAW, 0x300), EPERM),
    (("packet by its old name", 2, 10, 0x300), EPERM),
    (("vsock", 40, STREAM, 0), EAFNOSUPPORT),
    (("kernel crypto", 38, 5, 0), EAFNOSUPPORT),
    (("xdp", 44, RAW, 0), EAFNOSUPPORT),
    (("bluetooth", 31, RAW, 1), EAFNOSUPPORT),
    (("of the future", 77, STREAM, 0), EAFNOSUPPORT),
]


@pytest.mark.parametrize(("socket", "verdict"), SOCKETS)
@pytest.mark.parametrize(
    ("machine", "arch", "number"),
    [("x86_64", X86_64, 41), ("x86_64", I386, 359), ("aarch64", AARCH64, 198), ("aarch64", ARM, 281)],
)
def test_sockets(machine: str, arch: int, number: int, socket: tuple[str, int, int, int], verdict: int) -> None:
    assert run(deny_filter(machine), arch, number, *socket[1:]) == verdict


def test_only_low_halves_of_arguments_count() -> None:
    """The kernel takes domain, type and protocol for ints too, so nothing hides in the upper half."""
    high = 1 << 32
    assert run(deny_filter("x86_64"), X86_64, 41, 40 | high) == EAFNOSUPPORT
    assert run(deny_filter("x86_64"), X86_64, 41, 2 | high, RAW | high, TCP | high) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_programs_fit_the_kernel(machine: str) -> None:
    """BPF_MAXINSNS is 4096; every jump of every program ends inside it, whatever the call."""
    programs = [make(machine) for make in (deny_filter, limits_filter, network_filter, strangers_filter)]
    programs += [ask_filter(machine, owners=True, sockets=True, heard=heard) for heard in (True, False)]
    for program in programs:
        assert 0 < len(program) // 8 < 4096
        for table in MACHINES[machine]:
            for number in (*range(480), 0xF0005, 0x40000001, 0xFFFFFFFF):
                assert run(program, table.audit, number, 0, 0, 0) in (ALLOW, EPERM, ENOSYS, EAFNOSUPPORT, MUTED, TOLD)


@pytest.mark.parametrize(
    ("machine", "arch", "number", "verdict"),
    [
        ("x86_64", X86_64, 92, MUTED),  # chown
        ("x86_64", X86_64, 260, MUTED),  # fchownat
        ("x86_64", X86_64, 116, MUTED),  # setgroups
        ("x86_64", X86_64, 90, ALLOW),  # chmod
        ("x86_64", I386, 16, MUTED),  # lchown of 16-bit ids
        ("aarch64", AARCH64, 54, MUTED),
        ("aarch64", ARM, 212, MUTED),
        ("aarch64", X86_64, 92, ALLOW),  # not an architecture of this machine
    ],
)
def test_mutes_changes_of_owner_and_identity(machine: str, arch: int, number: int, verdict: int) -> None:
    program = ask_filter(machine, owners=True, sockets=False, heard=False)
    assert run(program, arch, number) == verdict


@pytest.mark.parametrize("machine", MACHINES)
def test_a_listener_is_told_of_changes_of_owner_and_knows_each(machine: str) -> None:
    calls = asked_calls(machine)
    program = ask_filter(machine, owners=True, sockets=False)
    muting = ask_filter(machine, owners=True, sockets=False, heard=False)
    for table in MACHINES[machine]:
        for number in range(480):
            told = run(program, table.audit, number) == TOLD
            assert told == (calls.get((table.audit, number), "socketcall") != "socketcall")
            assert run(muting, table.audit, number) == (MUTED if told else run(program, table.audit, number))
    assert {"fchown", "fchownat"} <= set(calls.values())


@pytest.mark.parametrize(
    ("heard", "arch", "number", "first", "verdict"),
    [
        (True, I386, 102, 1, TOLD),  # socketcall(SYS_SOCKET)
        (False, I386, 102, 1, ENOSYS),
        (True, I386, 102, 3, ALLOW),  # SYS_CONNECT
        (True, X86_64, 102, 1, ALLOW),  # getuid
        (True, X86_64, 92, 1, ALLOW),  # chown
    ],
)
def test_a_listener_is_told_of_sockets_whose_arguments_are_hidden(
    heard: bool, arch: int, number: int, first: int, verdict: int
) -> None:
    program = ask_filter("x86_64", owners=False, sockets=True, heard=heard)
    assert run(program, arch, number, first) == verdict
    assert asked_calls("x86_64")[I386, 102] == "socketcall"


def test_nobody_needs_to_listen_on_other_machines() -> None:
    assert ask_filter("aarch64", owners=False, sockets=True) == b""


@pytest.mark.parametrize(
    ("arch", "number", "verdict"),
    [
        (X86_64, 101, EPERM),  # ptrace
        (X86_64, 310, EPERM),  # process_vm_readv
        (X86_64, 311, EPERM),
        (X86_64, 62, ALLOW),  # kill
        (I386, 26, EPERM),
        (I386, 347, EPERM),
    ],
)
def test_looking_into_processes(arch: int, number: int, verdict: int) -> None:
    assert run(strangers_filter("x86_64"), arch, number) == verdict


def test_unknown_machines_have_no_filter() -> None:
    assert deny_filter("vax") == network_filter("vax") == strangers_filter("vax") == limits_filter("vax") == b""
    assert ask_filter("vax", owners=True, sockets=True) == b"" and asked_calls("vax") == {}


@pytest.mark.parametrize(
    ("arch", "number", "first", "verdict"),
    [
        (X86_64, 41, 1, ALLOW),  # socket(AF_UNIX)
        (X86_64, 41, 16, ALLOW),  # AF_NETLINK
        (X86_64, 41, 2, EAFNOSUPPORT),  # AF_INET
        (X86_64, 41, 10, EAFNOSUPPORT),
        (X86_64, 41, 17, EAFNOSUPPORT),  # AF_PACKET
        (X86_64, 425, 0, ENOSYS),  # io_uring_setup
        (X86_64, 0, 0, ALLOW),
        (I386, 359, 2, EAFNOSUPPORT),
        (I386, 102, 1, EPERM),  # socketcall
        (ARM, 281, 2, EPERM),  # not an architecture of this machine
    ],
)
def test_no_network(arch: int, number: int, first: int, verdict: int) -> None:
    assert run(network_filter("x86_64"), arch, number, first) == verdict


@pytest.mark.parametrize(("arch", "number"), [(X86_64, 302), (I386, 340)])
@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        ((0, 7, 0x7FFF00000000), ALLOW),  # its own
        ((1234, 7, 0, 0x1000), ALLOW),  # a question
        ((1234, 7, 0x1000), EPERM),
        ((1234, 7, 0x100000000), EPERM),
        ((0xFFFFFFFF00000000, 7, 0x1000), ALLOW),  # the kernel takes 32 bits of it
    ],
)
def test_limits_of_others(arch: int, number: int, arguments: tuple[int, ...], verdict: int) -> None:
    assert run(limits_filter("x86_64"), arch, number, *arguments) == verdict
    assert run(limits_filter("x86_64"), arch, 1, *arguments) == ALLOW

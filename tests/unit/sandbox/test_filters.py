"""The seccomp programs, run by a small interpreter of classic BPF."""

import struct

import pytest

from firkin.sandbox.filters import deny_filter, mute_ids_filter, network_filter

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, EPERM, ENOSYS, MUTED = 0x7FFF0000, 0x50001, 0x50026, 0x50000


def run(program: bytes, arch: int, number: int, first: int = 0) -> int:
    data = struct.pack("<IIQ6Q", number, arch, 0, first, 0, 0, 0, 0, 0)
    lines = [struct.unpack_from("<HBBI", program, offset) for offset in range(0, len(program), 8)]
    at, value = 0, 0
    while True:
        code, yes, no, k = lines[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, k)
            case 0x15:
                at += yes if value == k else no
            case 0x35:
                at += yes if value >= k else no
            case 0x45:
                at += yes if value & k else no
            case 0x06:
                return k
            case _:
                raise AssertionError(hex(code))


@pytest.mark.parametrize(
    ("machine", "arch", "number", "first", "verdict"),
    [
        ("x86_64", X86_64, 250, 0, EPERM),  # keyctl
        ("x86_64", X86_64, 1, 0, ALLOW),  # write
        ("x86_64", X86_64, 56, 0x11, ALLOW),  # clone, a fork
        ("x86_64", X86_64, 56, 0x10000011, EPERM),  # clone, CLONE_NEWUSER
        ("x86_64", X86_64, 272, 0x20000, EPERM),  # unshare, CLONE_NEWNS
        ("x86_64", X86_64, 272, 0x200, ALLOW),  # unshare, CLONE_FS
        ("x86_64", X86_64, 435, 0, ENOSYS),  # clone3
        ("x86_64", X86_64, 0x40000000 + 250, 0, ENOSYS),  # x32
        ("x86_64", I386, 288, 0, EPERM),  # keyctl of a 32-bit program
        ("x86_64", I386, 250, 0, ALLOW),
        ("aarch64", AARCH64, 219, 0, EPERM),
        ("aarch64", AARCH64, 64, 0, ALLOW),
    ],
)
def test_refuses_what_builds_do_not_need(machine: str, arch: int, number: int, first: int, verdict: int) -> None:
    assert run(deny_filter(machine), arch, number, first) == verdict


@pytest.mark.parametrize(
    ("machine", "arch", "number", "verdict"),
    [
        ("x86_64", X86_64, 92, MUTED),  # chown
        ("x86_64", X86_64, 260, MUTED),  # fchownat
        ("x86_64", X86_64, 116, MUTED),  # setgroups
        ("x86_64", X86_64, 90, ALLOW),  # chmod
        ("x86_64", I386, 16, MUTED),  # lchown of 16-bit ids
        ("aarch64", AARCH64, 54, MUTED),
        ("aarch64", X86_64, 92, ALLOW),  # not an architecture of this machine
    ],
)
def test_mutes_changes_of_owner_and_identity(machine: str, arch: int, number: int, verdict: int) -> None:
    assert run(mute_ids_filter(machine), arch, number) == verdict


def test_unknown_machines_have_no_filter() -> None:
    assert deny_filter("vax") == mute_ids_filter("vax") == b""


@pytest.mark.parametrize(
    ("arch", "number", "first", "verdict"),
    [
        (X86_64, 41, 1, ALLOW),  # socket(AF_UNIX)
        (X86_64, 41, 16, ALLOW),  # AF_NETLINK
        (X86_64, 41, 2, 0x50061),  # AF_INET: EAFNOSUPPORT
        (X86_64, 41, 10, 0x50061),
        (X86_64, 41, 17, 0x50061),  # AF_PACKET
        (X86_64, 425, 0, ENOSYS),  # io_uring_setup
        (X86_64, 0, 0, ALLOW),
        (I386, 359, 2, 0x50061),
        (I386, 102, 1, EPERM),  # socketcall
    ],
)
def test_no_network(arch: int, number: int, first: int, verdict: int) -> None:
    assert run(network_filter("x86_64"), arch, number, first) == verdict

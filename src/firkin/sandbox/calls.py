"""Numbers of system calls, for the seccomp programs of `filters`. Pure.

A name with 16 is a call of 32-bit machines with 16-bit ids; on these, the plain name is the call with 32-bit ids.
Mirrors: linux arch/*/include/uapi/asm/unistd.h and kernel/syscall_*.tbl.
"""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    """One system call table: its audit number (linux/audit.h) and its column in `_NUMBERS`."""

    audit: int
    column: int


X86_64, I386, AARCH64, ARM = Table(0xC000003E, 0), Table(0x40000003, 1), Table(0xC00000B7, 2), Table(0x40000028, 3)
# These architectures adopted the table of 64-bit ARM.
RISCV64, LOONGARCH64 = Table(0xC00000F3, 2), Table(0xC0000102, 2)

# The tables that processes of a machine may use, by the machine's uname.
MACHINES: dict[str, tuple[Table, ...]] = {
    "x86_64": (X86_64, I386),
    "i686": (X86_64, I386),
    "aarch64": (AARCH64, ARM),
    "armv8l": (AARCH64, ARM),
    "armv7l": (ARM,),
    "armv6l": (ARM,),
    "riscv64": (RISCV64,),
    "loongarch64": (LOONGARCH64,),
}

NEWEST = 466  # removexattrat of Linux 6.13, the newest call that Docker's default profile knows
ARM_PRIVATE = 0xF0000  # set_tls, cacheflush and a few more (arch/arm/include/uapi/asm/unistd.h)

_NUMBERS: dict[str, tuple[int | None, int | None, int | None, int | None]] = {
    "_sysctl": (156, 149, None, 149),
    "acct": (163, 51, 89, 51),
    "add_key": (248, 286, 217, 309),
    "afs_syscall": (183, 137, None, None),
    "bpf": (321, 357, 280, 386),
    "chown": (92, 212, None, 212),
    "chown16": (None, 182, None, 182),
    "clock_settime": (227, 264, 112, 262),
    "clock_settime64": (None, 404, None, 404),
    "clone": (56, 120, 220, 120),
    "clone3": (435, 435, 435, 435),
    "create_module": (174, 127, None, None),
    "delete_module": (176, 129, 106, 129),
    "fanotify_init": (300, 338, 262, 367),
    "fchown": (93, 207, 55, 207),
    "fchown16": (None, 95, None, 95),
    "fchownat": (260, 298, 54, 325),
    "finit_module": (313, 350, 273, 379),
    "fsconfig": (431,) * 4,
    "fsmount": (432,) * 4,
    "fsopen": (430,) * 4,
    "fspick": (433,) * 4,
    "get_kernel_syms": (177, 130, None, None),
    "get_mempolicy": (239, 275, 236, 320),
    "getpmsg": (181, 188, None, None),
    "init_module": (175, 128, 105, 128),
    "io_uring_enter": (426,) * 4,
    "io_uring_register": (427,) * 4,
    "io_uring_setup": (425,) * 4,
    "ioperm": (173, 101, None, None),
    "iopl": (172, 110, None, None),
    "kcmp": (312, 349, 272, 378),
    "kexec_file_load": (320, None, 294, 401),
    "kexec_load": (246, 283, 104, 347),
    "keyctl": (250, 288, 219, 311),
    "lchown": (94, 198, None, 198),
    "lchown16": (None, 16, None, 16),
    "lookup_dcookie": (212, 253, 18, 249),
    "lsm_get_self_attr": (459,) * 4,
    "lsm_list_modules": (461,) * 4,
    "lsm_set_self_attr": (460,) * 4,
    "mbind": (237, 274, 235, 319),
    "migrate_pages": (256, 294, 238, 400),
    "mount": (165, 21, 40, 21),
    "mount_setattr": (442,) * 4,
    "move_mount": (429,) * 4,
    "move_pages": (279, 317, 239, 344),
    "nfsservctl": (180, 169, 42, 169),
    "open_by_handle_at": (304, 342, 265, 371),
    "open_tree": (428,) * 4,
    "pciconfig_iobase": (None, None, None, 271),
    "pciconfig_read": (None, None, None, 272),
    "pciconfig_write": (None, None, None, 273),
    "perf_event_open": (298, 336, 241, 364),
    "personality": (135, 136, 92, 136),
    "pidfd_getfd": (438,) * 4,
    "pivot_root": (155, 217, 41, 218),
    "prlimit64": (302, 340, 261, 369),
    "process_madvise": (440,) * 4,
    "process_vm_readv": (310, 347, 270, 376),
    "process_vm_writev": (311, 348, 271, 377),
    "ptrace": (101, 26, 117, 26),
    "putpmsg": (182, 189, None, None),
    "query_module": (178, 167, None, None),
    "quotactl": (179, 131, 60, 131),
    "quotactl_fd": (443,) * 4,
    "reboot": (169, 88, 142, 88),
    "request_key": (249, 287, 218, 310),
    "security": (185, None, None, None),
    "set_mempolicy": (238, 276, 237, 321),
    "set_mempolicy_home_node": (450,) * 4,
    "setdomainname": (171, 121, 162, 121),
    "setgid": (106, 214, 144, 214),
    "setgid16": (None, 46, None, 46),
    "setgroups": (116, 206, 159, 206),
    "setgroups16": (None, 81, None, 81),
    "sethostname": (170, 74, 161, 74),
    "setns": (308, 346, 268, 375),
    "setregid": (114, 204, 143, 204),
    "setregid16": (None, 71, None, 71),
    "setresgid": (119, 210, 149, 210),
    "setresgid16": (None, 170, None, 170),
    "setresuid": (117, 208, 147, 208),
    "setresuid16": (None, 164, None, 164),
    "setreuid": (113, 203, 145, 203),
    "setreuid16": (None, 70, None, 70),
    "settimeofday": (164, 79, 170, 79),
    "setuid": (105, 213, 146, 213),
    "setuid16": (None, 23, None, 23),
    "socket": (41, 359, 198, 281),
    "socketcall": (None, 102, None, None),
    "stime": (None, 25, None, None),
    "swapoff": (168, 115, 225, 115),
    "swapon": (167, 87, 224, 87),
    "sysfs": (139, 135, None, 135),
    "syslog": (103, 103, 116, 103),
    "tuxcall": (184, None, None, None),
    "umount": (None, 22, None, None),
    "umount2": (166, 52, 39, 52),
    "unshare": (272, 310, 97, 337),
    "uselib": (134, 86, None, 86),
    "userfaultfd": (323, 374, 282, 388),
    "ustat": (136, 62, None, 62),
    "vhangup": (153, 111, 58, 111),
    "vm86": (None, 166, None, None),
    "vm86old": (None, 113, None, None),
    "vserver": (236, 273, None, 313),
}


def number_of(name: str, table: Table) -> int | None:
    """Return the number of a call, None if the architecture has no such call."""
    return _NUMBERS[name][table.column]

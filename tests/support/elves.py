"""Small ELF files with everything that a program loader reads, and no code."""

import struct

MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243}
ADDRESS = 0x40000  # so large that no offset equals an address


def make_elf(
    *needed: str, machine: str = "x86_64", interpreter: str = "", rpath: str = "", runpath: str = "", data: bytes = b""
) -> bytes:
    """Return a file with these headers; `data` follows them and is loaded as well."""
    strings = b"\0"
    entries = []
    for tag, text in (*((1, name) for name in needed), (15, rpath), (29, runpath)):
        if text:
            entries.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    headers = 3 if interpreter else 2
    strings_at = 64 + headers * 56
    dynamic_at = strings_at + len(strings)
    entries += [(5, ADDRESS + strings_at), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    interpreter_at = dynamic_at + len(dynamic)
    words = interpreter.encode() + b"\0" if interpreter else b""
    size = interpreter_at + len(words) + len(data)

    def header(kind: int, offset: int, length: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 4, offset, ADDRESS + offset, 0, length, length, 8)

    table = header(1, 0, size) + header(2, dynamic_at, len(dynamic))
    table += header(3, interpreter_at, len(words)) if interpreter else b""
    start = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    start += struct.pack("<HHIQQQIHHHHHH", 3, MACHINES[machine], 1, 0, 64, 0, 0, 64, 56, headers, 0, 0, 0)
    return start + table + strings + dynamic + words + data

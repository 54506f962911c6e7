"""What the program loader reads of an ELF file: what it is for, what it needs, and where that is looked for.

The file is never run, so it may be for any architecture. Spec: System V ABI, chapters 4 and 5; ld.so(8).
"""

import struct
from dataclasses import dataclass

MACHINES = {62: "x86_64", 183: "aarch64"}
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _RPATH, _RUNPATH = 1, 5, 15, 29


class ElfError(ValueError):
    """The bytes are no ELF file that an image could hold: 64 bits, little-endian, whole."""


@dataclass(frozen=True, slots=True)
class Elf:
    """The facts of one file. `interpreter` is "" in libraries; paths stand as they are written, with `$ORIGIN`."""

    machine: str
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


def parse_elf(data: bytes) -> Elf:
    """Return the facts of a file's whole content; raise ElfError."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ElfError("not a 64-bit, little-endian ELF file")
    try:
        machine = struct.unpack_from("<H", data, 18)[0]
        start, size, count = (*struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54))
        # Of a program header: type, flags, offset, address, physical address, size in the file.
        headers = [struct.unpack_from("<IIQQQQ", data, start + at * size) for at in range(count)]
        loaded = [(address, offset, length) for kind, _, offset, address, _, length in headers if kind == _LOAD]
        spans = {kind: (offset, length) for kind, _, offset, _, _, length in headers}
        entries = []
        offset, length = spans.get(_DYNAMIC, (0, 0))
        for at in range(offset, offset + length, 16):
            tag, value = struct.unpack_from("<qQ", data, at)
            if tag == 0:
                break
            entries.append((tag, value))
    except (struct.error, OverflowError) as error:
        raise ElfError(f"cut short: {error}") from None
    strings = next((_offset(value, loaded) for tag, value in entries if tag == _STRINGS), 0)

    def texts(wanted: int) -> tuple[str, ...]:
        return tuple(_text(data, strings + value) for tag, value in entries if tag == wanted)

    return Elf(
        MACHINES.get(machine, f"machine {machine}"),
        _text(data, spans[_INTERPRETER][0]) if _INTERPRETER in spans else "",
        texts(_NEEDED),
        *(tuple(part for text in texts(tag) for part in text.split(":") if part) for tag in (_RPATH, _RUNPATH)),
    )


def _offset(address: int, loaded: list[tuple[int, int, int]]) -> int:
    for start, offset, length in loaded:
        if start <= address < start + length:
            return offset + address - start
    raise ElfError(f"nothing of the file is loaded at {address:#x}")


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    if end < 0:
        raise ElfError("cut short: a text without an end")
    return data[start:end].decode(errors="surrogateescape")

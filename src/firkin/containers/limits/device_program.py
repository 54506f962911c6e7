"""Rules for devices as a program of the kernel's: control groups of version 2 have no files for them. Pure.

The program gets what is asked (struct bpf_cgroup_dev_ctx: kind and access, major, minor) and answers 1 or 0. Spec: the
kernel's bpf/standardization/instruction-set.rst, linux/bpf.h. Mirrors: opencontainers/cgroups devicefilter.
"""

from __future__ import annotations

import struct

# Registers: what is asked is loaded into them once; r1 is the context first, then scratch.
_ANSWER, _CONTEXT, _KIND, _ACCESS, _MAJOR, _MINOR = 0, 1, 2, 3, 4, 5
_LOAD_WORD, _AND, _SHIFT_RIGHT, _COPY, _SET = 0x61, 0x54, 0x74, 0xBC, 0xB4
_JUMP_UNLESS, _JUMP_UNLESS_SAME, _EXIT = 0x55, 0x5D, 0x95
_KINDS = {"b": 1, "c": 2}
_ACCESSES = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS = 7


def device_program(rules: tuple[str, ...]) -> bytes:
    """Return the program that allows what one of the rules (`c 1:3 rwm`) allows, and nothing else."""
    code = [
        _step(_LOAD_WORD, _KIND, _CONTEXT, 0),
        _step(_COPY, _ACCESS, _KIND),
        _step(_AND, _KIND, value=0xFFFF),
        _step(_SHIFT_RIGHT, _ACCESS, value=16),
        _step(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _step(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in rules:
        code += _rule(rule)
    return b"".join((*code, _step(_SET, _ANSWER, value=0), _step(_EXIT)))


def _rule(rule: str) -> list[bytes]:
    """Return the steps that end the program with 1 if a rule allows what is asked."""
    kind, number, access = rule.split()
    major, _, minor = number.partition(":")
    tests: list[tuple[int, int, int, int]] = []  # operation, register, other register, value
    if kind != "a":
        tests.append((_JUMP_UNLESS, _KIND, 0, _KINDS[kind]))
    mask = sum(bit for letter, bit in _ACCESSES.items() if letter in access)
    if mask != _EVERY_ACCESS:
        tests += [(_COPY, _CONTEXT, _ACCESS, 0), (_AND, _CONTEXT, 0, mask), (_JUMP_UNLESS_SAME, _CONTEXT, _ACCESS, 0)]
    for register, text in ((_MAJOR, major), (_MINOR, minor)):
        if text != "*":
            tests.append((_JUMP_UNLESS, register, 0, int(text)))
    steps = []
    for place, (operation, register, other, value) in enumerate(tests):
        # Over the rest of the tests and the answer.
        away = len(tests) - place + 1 if operation in (_JUMP_UNLESS, _JUMP_UNLESS_SAME) else 0
        steps.append(_step(operation, register, other, away, value))
    return [*steps, _step(_SET, _ANSWER, value=1), _step(_EXIT)]


def _step(operation: int, register: int = 0, other: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """Return one struct bpf_insn."""
    return struct.pack("<BBhi", operation, register | other << 4, offset, value)

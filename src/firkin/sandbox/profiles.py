"""Rules about system calls → seccomp programs, as containers have them. Pure.

A program has one block for each architecture of the machine. In it the number of a call is found by halving, since
every call of the container passes here. Mirrors: libseccomp's rules (seccomp_rule_add(3)), runc
libcontainer/seccomp/patchbpf (calls that are newer than the profile do not exist, so that libraries fall back).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from firkin.sandbox.calls import MACHINES, X86_64, Table, numbers_of

ALLOW, LOG, KILL_PROCESS, KILL_THREAD = 0x7FFF0000, 0x7FFC0000, 0x80000000, 0
ERRNO, TRAP, TRACE = 0x00050000, 0x00030000, 0x7FF00000
EPERM, ENOSYS = 1, 38
MOST_LINES = 4096  # BPF_MAXINSNS

_LOAD, _AND, _JUMP = 0x20, 0x54, 0x05
_EQUAL, _ABOVE, _AT_LEAST, _RETURN = 0x15, 0x25, 0x35, 0x06
_X32 = 0x40000000  # the bit of calls of the x32 table
_PRIVATE = 0x1000  # above are calls that only 32-bit ARM has
_LOW = 0xFFFFFFFF
_PASS, _FAIL = -1, -2
Line = tuple[int, int, int, int]
"""An instruction: code, operand, how far to jump if true and if false."""


class Argument(NamedTuple):
    """A test of an argument of a call; `operator` is that of libseccomp without SCMP_CMP_.

    MASKED_EQ: the bits `value` of the argument are `second`.
    """

    position: int
    operator: str
    value: int
    second: int = 0


class Rule(NamedTuple):
    """What becomes of calls whose arguments pass all tests: an action of seccomp(2)."""

    names: tuple[str, ...]
    action: int
    arguments: tuple[Argument, ...] = ()


class TooLong(ValueError):
    """The kernel does not take programs of this length."""


def compile_rules(rules: tuple[Rule, ...], otherwise: int, machine: str) -> bytes:
    """Return the program; `otherwise` is the action for calls without a rule, b"" for an unknown machine.

    A rule without tests counts before those with tests; of these the first that passes. Calls of other architectures
    get `otherwise`. Raises TooLong.
    """
    lines: list[Line] = []
    for table in MACHINES.get(machine, ()):
        block = [(_LOAD, 0, 0, 0), *_block(rules, otherwise, table)]
        lines += [(_LOAD, 4, 0, 0), (_EQUAL, table.audit, 1, 0), (_JUMP, len(block), 0, 0), *block]
    if not lines:
        return b""
    lines.append((_RETURN, otherwise, 0, 0))
    if len(lines) > MOST_LINES:
        raise TooLong(f"a seccomp program of {len(lines)} instructions, of {MOST_LINES}")
    return b"".join([struct.pack("<HBBI", code, yes, no, operand) for code, operand, yes, no in lines])


def _block(rules: tuple[Rule, ...], otherwise: int, table: Table) -> list[Line]:
    """Return the lines for one architecture; the number of the call is loaded."""
    verdicts = _verdicts(rules, numbers_of(table))
    lines: list[Line] = []
    unknown = ERRNO | ENOSYS if otherwise == ERRNO | EPERM else otherwise
    if table is X86_64:
        lines += [(_AT_LEAST, _X32, 0, 1), (_RETURN, unknown, 0, 0)]
    newest = max((number for number in verdicts if number < _PRIVATE), default=0)
    starts: list[tuple[int, list[Line]]] = [(0, [(_RETURN, otherwise, 0, 0)])]
    for number in sorted(verdicts):
        leaf = _leaf(verdicts[number], otherwise)
        if number == starts[-1][0]:
            starts.pop()
        if not starts or starts[-1][1] != leaf:
            starts.append((number, leaf))
        after = unknown if number == newest else otherwise
        if number + 1 not in verdicts:
            starts.append((number + 1, [(_RETURN, after, 0, 0)]))
    return [*lines, *_halve(starts)]


def _verdicts(rules: tuple[Rule, ...], numbers: dict[str, int]) -> dict[int, list[Rule]]:
    """Return number → rules; only the first of those without tests, if there is one."""
    found: dict[int, list[Rule]] = {}
    for rule in rules:
        for name in rule.names:
            number = numbers.get(name)
            if number is None:
                continue
            known = found.setdefault(number, [])
            if known and not known[0].arguments:
                continue
            if rule.arguments:
                known.append(rule)
            else:
                known[:] = [rule]
    return found


def _halve(starts: list[tuple[int, list[Line]]]) -> list[Line]:
    if len(starts) == 1:
        return starts[0][1]
    middle = len(starts) // 2
    left, right = _halve(starts[:middle]), _halve(starts[middle:])
    pivot = starts[middle][0]
    if len(left) < 256:
        return [(_AT_LEAST, pivot, len(left), 0), *left, *right]
    return [(_AT_LEAST, pivot, 0, 1), (_JUMP, len(left), 0, 0), *left, *right]


def _leaf(rules: list[Rule], otherwise: int) -> list[Line]:
    if len(rules) == 1 and not rules[0].arguments:
        return [(_RETURN, rules[0].action, 0, 0)]
    lines: list[Line] = []
    for rule in rules:
        lines += _tests(rule)
    return lines if lines and not rules[-1].arguments else [*lines, (_RETURN, otherwise, 0, 0)]


def _tests(rule: Rule) -> list[Line]:
    """Return the lines that return the rule's action if all tests pass, and go on after them if not."""
    tests: list[list[Line]] = [_test(argument) for argument in rule.arguments]
    length = sum(map(len, tests)) + 1
    lines: list[Line] = []
    for test in tests:
        end = len(lines) + len(test)
        for code, operand, yes, no in test:
            here = len(lines) + 1
            targets = {_PASS: end - here, _FAIL: length - here}
            lines.append((code, operand, targets.get(yes, yes), targets.get(no, no)))
    return [*lines, (_RETURN, rule.action, 0, 0)]


def _test(argument: Argument) -> list[Line]:
    """Return a test of both halves of an argument; its jumps are _PASS, _FAIL or a number of lines."""
    load_low = (_LOAD, 16 + 8 * argument.position, 0, 0)
    load_high = (_LOAD, 20 + 8 * argument.position, 0, 0)
    high, low = argument.value >> 32, argument.value & _LOW
    match argument.operator:
        case "EQ":
            return [load_high, (_EQUAL, high, 0, _FAIL), load_low, (_EQUAL, low, _PASS, _FAIL)]
        case "NE":
            return [load_high, (_EQUAL, high, 0, _PASS), load_low, (_EQUAL, low, _FAIL, _PASS)]
        case "MASKED_EQ":
            return [
                load_high, (_AND, high, 0, 0), (_EQUAL, argument.second >> 32, 0, _FAIL),
                load_low, (_AND, low, 0, 0), (_EQUAL, argument.second & _LOW, _PASS, _FAIL),
            ]  # fmt: skip
        case "GT" | "GE":
            last = _ABOVE if argument.operator == "GT" else _AT_LEAST
            return [load_high, (_ABOVE, high, _PASS, 0), (_EQUAL, high, 0, _FAIL), load_low, (last, low, _PASS, _FAIL)]
        case "LT" | "LE":
            last = _AT_LEAST if argument.operator == "LT" else _ABOVE
            return [load_high, (_ABOVE, high, _FAIL, 0), (_EQUAL, high, 0, _PASS), load_low, (last, low, _FAIL, _PASS)]
    raise ValueError(f"unknown operator {argument.operator}")

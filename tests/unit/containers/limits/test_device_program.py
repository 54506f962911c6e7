"""The program about devices, performed by a small interpreter of its few instructions."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.containers.limits.device_program import device_program
from firkin.containers.limits.devices import DEFAULT_RULES

KINDS = {"b": 1, "c": 2}
BITS = {"m": 1, "r": 2, "w": 4}


def perform(program: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """Return what a program answers."""
    context = (KINDS[kind] | sum(BITS[letter] for letter in access) << 16, major, minor)
    registers = [0] * 10
    steps = list(struct.iter_unpack("<BBhi", program))
    place = 0
    while True:
        operation, names, offset, value = steps[place]
        to, other = names & 15, names >> 4
        place += 1
        if operation == 0x61:
            registers[to] = context[offset // 4]
        elif operation == 0xBC:
            registers[to] = registers[other]
        elif operation == 0x54:
            registers[to] &= value
        elif operation == 0x74:
            registers[to] >>= value
        elif operation == 0xB4:
            registers[to] = value
        elif operation == 0x55:
            place += offset if registers[to] != value else 0
        elif operation == 0x5D:
            place += offset if registers[to] != registers[other] else 0
        else:
            assert operation == 0x95
            return registers[0]


def allows(rules: tuple[str, ...], kind: str, major: int, minor: int, access: str) -> bool:
    """Return the same by reading the rules."""
    for rule in rules:
        of, number, letters = rule.split()
        numbers = number.split(":")
        same = all(text in ("*", str(given)) for text, given in zip(numbers, (major, minor), strict=True))
        if of in ("a", kind) and same and set(access) <= set(letters):
            return True
    return False


NUMBER = st.sampled_from(["*", "0", "1", "3", "250"])
ACCESS = st.sampled_from(["r", "w", "m", "rw", "rm", "rwm"])
RULE = st.builds("{} {}:{} {}".format, st.sampled_from("abc"), NUMBER, NUMBER, ACCESS)
ASKED = st.tuples(st.sampled_from("bc"), st.sampled_from([0, 1, 3, 250]), st.sampled_from([0, 1, 3, 250]), ACCESS)


@given(st.lists(RULE, max_size=6).map(tuple), ASKED)
def test_it_decides_as_the_rules_say(rules: tuple[str, ...], asked: tuple[str, int, int, str]) -> None:
    assert perform(device_program(rules), *asked) == allows(rules, *asked)


@pytest.mark.parametrize(("asked", "allowed"), [
    (("c", 1, 3, "rw"), True), (("c", 1, 11, "r"), False), (("c", 1, 11, "m"), True), (("c", 136, 7, "rwm"), True),
    (("b", 8, 0, "r"), False), (("b", 8, 0, "m"), True), (("b", 8, 0, "rm"), False),
])  # fmt: skip
def test_dockers_rules(asked: tuple[str, int, int, str], allowed: bool) -> None:
    assert perform(device_program(DEFAULT_RULES), *asked) == allowed

"""The compiled filter is the one that its rules give."""

import binascii
import zlib

import pytest

from firkin.containers.documents.profile import capability_names
from firkin.sandbox.default_profile import default_rules
from firkin.sandbox.profiles import EPERM, ERRNO, compile_rules
from firkin.sandbox.usual_filter import usual_filter

USUAL = capability_names((), (), privileged=False)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_program_is_what_the_rules_give(machine: str) -> None:
    program = compile_rules(default_rules(USUAL, machine), ERRNO | EPERM, machine)
    text = binascii.b2a_base64(zlib.compress(program, 9), newline=False).decode()
    assert usual_filter(USUAL, machine) == program, f"write this into usual_filter.py: {text}"


def test_other_capabilities_and_machines_are_not_its_business() -> None:
    assert usual_filter(("SYS_ADMIN", *USUAL), "x86_64") is None
    assert usual_filter(USUAL[1:], "x86_64") is None
    assert usual_filter(USUAL, "riscv64") is None

"""Seccomp profiles of containers: rules to programs, Docker's default, and profiles as files."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.containers.documents.profile import CAPABILITIES, DEFAULT_CAPABILITIES
from firkin.sandbox.calls import AARCH64, ARM, I386, MACHINES, X86_64, Table, numbers_of
from firkin.sandbox.default_profile import default_rules
from firkin.sandbox.profile_files import BadProfile, parse_profile
from firkin.sandbox.profiles import ALLOW, ENOSYS, EPERM, ERRNO, LOG, Argument, Rule, TooLong, compile_rules

REFUSED, UNKNOWN = ERRNO | EPERM, ERRNO | ENOSYS


def verdict(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """Run a program as the kernel does; arguments have 64 bits."""
    words = [number, audit, 0, 0]
    for argument in (*arguments, *(0,) * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32]
    lines = list(struct.iter_unpack("<HBBI", program))
    at, value = 0, 0
    while True:
        code, yes, no, operand = lines[at]
        at += 1
        match code:
            case 0x20:
                value = words[operand // 4]
            case 0x54:
                value &= operand
            case 0x05:
                at += operand
            case 0x15:
                at += yes if value == operand else no
            case 0x25:
                at += yes if value > operand else no
            case 0x35:
                at += yes if value >= operand else no
            case 0x06:
                return operand
            case _:
                raise AssertionError(code)


def call(program: bytes, table: Table, name: str, *arguments: int) -> int:
    return verdict(program, table.audit, numbers_of(table)[name], *arguments)


@pytest.fixture(scope="module")
def usual() -> bytes:
    return compile_rules(default_rules(DEFAULT_CAPABILITIES, "x86_64"), REFUSED, "x86_64")


@pytest.mark.parametrize("table", [X86_64, I386])
def test_default_allows_what_programs_need_and_refuses_the_rest(usual: bytes, table: Table) -> None:
    for name in ("read", "openat2", "ptrace", "chroot", "mknod", "futex_waitv", "keyctl", "mount", "bpf", "reboot"):
        refused = name in ("keyctl", "mount", "bpf", "reboot")
        assert call(usual, table, name) == (REFUSED if refused else ALLOW), name
    assert verdict(usual, table.audit, 9999) == UNKNOWN  # libraries fall back


@pytest.mark.parametrize(("name", "numbers"), [("read", {X86_64: 0, I386: 3, AARCH64: 63, ARM: 3}),
                                               ("mseal", {X86_64: 462, I386: 462, AARCH64: 462, ARM: 462})])  # fmt: skip
def test_numbers(name: str, numbers: dict[Table, int]) -> None:
    assert {table: numbers_of(table)[name] for table in numbers} == numbers


def test_default_looks_at_flags_and_families(usual: bytes) -> None:
    assert call(usual, X86_64, "clone", 17) == ALLOW
    assert call(usual, X86_64, "clone", 0x10000000) == REFUSED
    assert call(usual, X86_64, "clone3") == UNKNOWN
    assert call(usual, X86_64, "personality", 0xFFFFFFFF) == ALLOW
    assert call(usual, X86_64, "personality", 0x0040000) == REFUSED
    families = {family for family in range(60) if call(usual, X86_64, "socket", family) == ALLOW}
    assert {1, 2, 10, 16, 17} <= families and not families & {12, 38, 40, 46}
    assert call(usual, X86_64, "socket", 1 << 32 | 2) == REFUSED  # all 64 bits count


def test_default_grows_with_capabilities() -> None:
    rules = default_rules((*DEFAULT_CAPABILITIES, "SYS_ADMIN", "SYSLOG"), "x86_64")
    program = compile_rules(rules, REFUSED, "x86_64")
    assert [call(program, X86_64, name, 0x10000000) for name in ("clone", "clone3", "mount", "unshare", "syslog")] == [ALLOW] * 5
    without = compile_rules(default_rules((), "x86_64"), REFUSED, "x86_64")
    assert call(without, X86_64, "chroot") == REFUSED


@pytest.mark.parametrize("machine", MACHINES)
def test_default_fits_the_kernel_everywhere(machine: str) -> None:
    assert 0 < len(compile_rules(default_rules(CAPABILITIES, machine), REFUSED, machine)) // 8 < 4096


def test_other_tables_cannot_bypass(usual: bytes) -> None:
    assert verdict(usual, X86_64.audit, 0x40000000 | 165) == UNKNOWN
    assert verdict(usual, 0xC00000F3, 0) == REFUSED


ARGUMENTS = st.builds(
    Argument, st.integers(0, 5), st.sampled_from(("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")),
    st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1)), st.integers(0, 3),
)  # fmt: skip
RULES = st.builds(
    Rule, st.lists(st.sampled_from(("read", "write", "mount", "socket", "getppid")), max_size=2).map(tuple),
    st.sampled_from((ALLOW, LOG, REFUSED, ERRNO | 7)), st.lists(ARGUMENTS, max_size=3).map(tuple),
)  # fmt: skip


def passes(test: Argument, values: tuple[int, ...]) -> bool:
    value = values[test.position]
    return {
        "EQ": value == test.value, "NE": value != test.value, "LT": value < test.value, "LE": value <= test.value,
        "GT": value > test.value, "GE": value >= test.value, "MASKED_EQ": value & test.value == test.second,
    }[test.operator]  # fmt: skip


@given(st.lists(RULES, max_size=6), st.lists(st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1)), min_size=6, max_size=6))
def test_programs_decide_as_their_rules_say(rules: list[Rule], values: list[int]) -> None:
    """A rule without tests counts before others; of these the first that passes."""
    program = compile_rules(tuple(rules), LOG, "x86_64")
    for name in ("read", "write", "mount", "socket", "getppid"):
        of = [rule for rule in rules if name in rule.names]
        plain = [rule for rule in of if not rule.arguments]
        met = plain or [rule for rule in of if all(passes(test, tuple(values)) for test in rule.arguments)]
        assert call(program, X86_64, name, *values) == (met[0].action if met else LOG)


def test_too_long_a_profile_is_refused() -> None:
    rules = tuple(Rule(("read",), ALLOW, (Argument(0, "EQ", value),)) for value in range(2000))
    with pytest.raises(TooLong):
        compile_rules(rules, REFUSED, "x86_64")


def profile(**fields: object) -> str:
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [], **fields})


def test_file_has_conditions() -> None:
    text = profile(syscalls=[
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"], "minKernel": "4.8"}},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"name": "open", "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "7.1"}},
    ])  # fmt: skip
    parsed = parse_profile(text, ("CHOWN",), "x86_64", (6, 1))
    assert parsed == ((Rule(("read",), ALLOW), Rule(("open",), ERRNO | 38)), REFUSED)


def test_empty_file_is_no_filter() -> None:
    assert parse_profile("{}", (), "x86_64", (6, 1)) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", profile(defaultAction="SCMP_ACT_NOTIFY"), profile(syscalls=[{"action": "ALLOW"}]),
        profile(architectures=["SCMP_ARCH_X86"], archMap=[{}]),
        profile(syscalls=[{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]),
        profile(syscalls=[{"name": "a", "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]),
        profile(syscalls=[{"name": "a", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_XX"}]}]),
        profile(defaultErrnoRet=1 << 20),
    ],
)  # fmt: skip
def test_bad_files_are_refused(text: str) -> None:
    with pytest.raises(BadProfile):
        parse_profile(text, (), "x86_64", (6, 1))

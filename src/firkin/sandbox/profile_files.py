"""Seccomp profiles as files (`seccomp=FILE`), in Docker's JSON form → rules. Pure.

Mirrors: moby/profiles seccomp setupSeccomp. Spec: runtime-spec config-linux.md, Seccomp.
"""

from __future__ import annotations

import msgspec

from firkin.decode import decode_json
from firkin.sandbox.profiles import (
    ALLOW,
    EPERM,
    ERRNO,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRACE,
    TRAP,
    Argument,
    Rule,
)

# As GOARCH says it, from uname.
_MACHINES = {
    "x86_64": "amd64", "i686": "x86", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "armv8l": "arm",
    "riscv64": "riscv64", "loongarch64": "loongarch64",
}  # fmt: skip
ACTIONS = {
    "ALLOW": ALLOW, "ERRNO": ERRNO, "KILL": KILL_THREAD, "KILL_THREAD": KILL_THREAD, "KILL_PROCESS": KILL_PROCESS,
    "TRAP": TRAP, "TRACE": TRACE, "LOG": LOG,
}  # fmt: skip
_OPERATORS = ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")
_LARGEST = (1 << 64) - 1


class BadProfile(ValueError):
    """A profile that is no valid one, or asks for what cannot be had."""


class _Test(msgspec.Struct, frozen=True, rename="camel"):
    index: int
    value: int = 0
    value_two: int = 0
    op: str = ""


class _Condition(msgspec.Struct, frozen=True, rename="camel"):
    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str = ""


class _Call(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    name: str = ""
    names: tuple[str, ...] | None = None
    errno_ret: int | None = None
    args: tuple[_Test, ...] | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None


class _Profile(msgspec.Struct, frozen=True, rename="camel"):
    default_action: str = ""
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] | None = None
    arch_map: tuple[dict[str, object], ...] | None = None
    syscalls: tuple[_Call, ...] | None = None


def parse_profile(
    text: str, capabilities: tuple[str, ...], machine: str, kernel: tuple[int, int]
) -> tuple[tuple[Rule, ...], int] | None:
    """Return the rules that hold for these capabilities, machine and kernel, and the action for other calls.

    None for an empty profile, which means no filter. Raises BadProfile.
    """
    try:
        profile = decode_json(text, _Profile)
    except msgspec.DecodeError as error:
        raise BadProfile(f"decoding seccomp profile failed: {error}") from error
    if not profile.default_action and not profile.syscalls:
        return None
    if profile.architectures and profile.arch_map:
        raise BadProfile(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or "
            "'archMap'"
        )
    arch = _MACHINES.get(machine, machine)
    rules = tuple(_rule(call) for call in profile.syscalls or () if _holds(call, capabilities, arch, kernel))
    return rules, _action(profile.default_action, profile.default_errno_ret)


def _rule(call: _Call) -> Rule:
    if call.name and call.names:
        raise BadProfile("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'")
    names = (call.name,) if call.name else call.names or ()
    return Rule(names, _action(call.action, call.errno_ret), tuple(map(_argument, call.args or ())))


def _holds(call: _Call, capabilities: tuple[str, ...], arch: str, kernel: tuple[int, int]) -> bool:
    """Say whether all of `includes` and none of `excludes` is so."""
    without, within = call.excludes or _Condition(), call.includes or _Condition()
    return not any(_facts(without, capabilities, arch, kernel)) and all(_facts(within, capabilities, arch, kernel))


def _facts(
    condition: _Condition, capabilities: tuple[str, ...], arch: str, kernel: tuple[int, int]
) -> list[bool]:  # fmt: skip
    """Return for each part of a condition whether it is so."""
    facts = [name.removeprefix("CAP_") in capabilities for name in condition.caps or ()]
    facts += [arch in condition.arches] if condition.arches else []
    facts += [kernel >= _kernel(condition.min_kernel)] if condition.min_kernel else []
    return facts


def _kernel(text: str) -> tuple[int, int]:
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal() and len(text) < 12):
        raise BadProfile(f"invalid kernel version: {text!r}")
    return int(major), int(minor)


def _action(text: str, number: int | None) -> int:
    action = ACTIONS.get(text.removeprefix("SCMP_ACT_"))
    if action is None or not text.startswith("SCMP_ACT_"):
        raise BadProfile(f"the seccomp action {text!r} is unknown, or needs a program that answers")
    if action not in (ERRNO, TRACE):
        return action
    if number is not None and not 0 <= number < 1 << 16:
        raise BadProfile(f"the error number {number} is out of range")
    return action | (EPERM if number is None else number)


def _argument(test: _Test) -> Argument:
    operator = test.op.removeprefix("SCMP_CMP_")
    if operator not in _OPERATORS or not test.op.startswith("SCMP_CMP_"):
        raise BadProfile(f"the seccomp operator {test.op!r} is unknown")
    if not (0 <= test.index < 6 and 0 <= test.value <= _LARGEST and 0 <= test.value_two <= _LARGEST):
        raise BadProfile("an argument of a seccomp rule is out of range")
    return Argument(test.index, operator, test.value, test.value_two)

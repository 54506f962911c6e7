"""The system calls that a container may make: as rules, and as the OCI runtime specification writes these. Pure.

A start of a usual container needs none of this: its program is there already (sandbox/usual_filter.py). Spec:
runtime-spec config-linux.md, Seccomp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from firkin.containers.documents.profile import capability_names, has_filter, parse_security
from firkin.errors import ContainerError
from firkin.sandbox.calls import AARCH64, ARM, I386, LOONGARCH64, MACHINES, RISCV64, X86_64
from firkin.sandbox.default_profile import default_rules
from firkin.sandbox.profile_files import ACTIONS, BadProfile, parse_profile
from firkin.sandbox.profiles import EPERM, ERRNO, TRACE, Argument, Rule

if TYPE_CHECKING:
    from firkin.containers.documents.config import HostConfig

Rules = tuple[tuple[Rule, ...], int]
"""Rules, and the action for calls without one."""
_ARCHITECTURES = {
    X86_64: "X86_64", I386: "X86", AARCH64: "AARCH64", ARM: "ARM", RISCV64: "RISCV64", LOONGARCH64: "LOONGARCH64",
}  # fmt: skip
_NUMBER_BITS = 0xFFFF  # of an action, for the number that it gives


def container_rules(host: HostConfig, machine: str, kernel: tuple[int, int] = (99, 0)) -> Rules | None:
    """Return the rules for a container's commands, None for no filter. Raises ContainerError for a poor profile."""
    if not has_filter(host):
        return None
    profile = parse_security(host.security_opt or ()).seccomp
    names = capability_names(host.cap_add or (), host.cap_drop or (), privileged=host.privileged)
    if not profile:
        return default_rules(names, machine), ERRNO | EPERM
    try:
        return parse_profile(profile, names, machine, kernel)
    except BadProfile as error:
        raise ContainerError(str(error), kind="invalid", code="container-seccomp") from error


def seccomp_document(rules: Rules, machine: str) -> dict[str, Any]:
    """Return `linux.seccomp` of a bundle."""
    calls, otherwise = rules
    return {
        **_action(otherwise, "defaultAction", "defaultErrnoRet"),
        "architectures": [f"SCMP_ARCH_{_ARCHITECTURES[table]}" for table in MACHINES.get(machine, ())],
        "syscalls": [_call(part) for rule in calls for part in _parts(rule)],
    }


def _call(rule: Rule) -> dict[str, Any]:
    call: dict[str, Any] = {"names": list(rule.names), **_action(rule.action, "action", "errnoRet")}
    if rule.arguments:
        call["args"] = [
            {"index": test.position, "value": test.value, "valueTwo": test.second, "op": f"SCMP_CMP_{test.operator}"}
            for test in rule.arguments
        ]
    return call


def _parts(rule: Rule) -> list[Rule]:
    """Return a rule that tests one argument's range as one for each value: runc takes two tests of it for an `or`."""
    tests = rule.arguments
    if [test.operator for test in tests] != ["GE", "LE"] or tests[0].position != tests[1].position:
        return [rule]
    values = range(tests[0].value, tests[1].value + 1)
    return [rule._replace(arguments=(Argument(tests[0].position, "EQ", value),)) for value in values]


def _action(action: int, name: str, number_name: str) -> dict[str, Any]:
    """Return an action's name, and the number that it gives if that is not the usual one."""
    number = action & _NUMBER_BITS
    kind = action & ~_NUMBER_BITS if action & ~_NUMBER_BITS in (ERRNO, TRACE) else action
    # KILL is the oldest name of KILL_THREAD; every runtime knows both.
    text = next(text for text, known in ACTIONS.items() if known == kind)
    return {name: f"SCMP_ACT_{text}", **({number_name: number} if kind != action and number != EPERM else {})}

"""Rules about system calls as a bundle has them."""

import json
from typing import Any

import pytest

from firkin.containers.documents.config import HostConfig
from firkin.containers.planning.seccomp import container_rules, seccomp_document
from firkin.errors import ContainerError

MACHINE = "x86_64"


def document(**host: Any) -> dict[str, Any]:
    rules = container_rules(HostConfig(**host), MACHINE)
    assert rules is not None
    return seccomp_document(rules, MACHINE)


def own(**profile: Any) -> dict[str, Any]:
    return document(security_opt=(f"seccomp={json.dumps(profile)}",))


def test_the_default_profile_as_a_document() -> None:
    found = document()
    assert found["defaultAction"] == "SCMP_ACT_ERRNO" and found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    allowed, others = found["syscalls"][0], found["syscalls"][1:]
    assert allowed["action"] == "SCMP_ACT_ALLOW" and {"openat", "chroot"} < set(allowed["names"])
    assert "mount" not in allowed["names"] and "mount" in document(cap_add=("SYS_ADMIN",))["syscalls"][0]["names"]
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in others
    clone = next(call for call in others if call["names"] == ["clone"])
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]


def test_no_rule_tests_an_argument_twice() -> None:
    """runc would take it for an `or`: sockets of any family, AF_ALG and AF_VSOCK among them."""
    calls = document()["syscalls"]
    families = {call["args"][0]["value"] for call in calls if call["names"] == ["socket"]}
    assert {1, 2, 10, 16, 17} < families and not {12, 38, 40} & families
    for call in calls:
        tested = [test["index"] for test in call.get("args", ())]
        assert len(tested) == len(set(tested)), call


def test_a_profile_of_ones_own() -> None:
    found = own(
        defaultAction="SCMP_ACT_ALLOW",
        defaultErrnoRet=5,
        syscalls=[
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"name": "rmdir", "action": "SCMP_ACT_ERRNO"},
            {"names": ["ptrace"], "action": "SCMP_ACT_TRACE", "errnoRet": 7, "includes": {"caps": ["CAP_CHOWN"]}},
            {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS", "excludes": {"caps": ["CAP_CHOWN"]}},
            {"names": ["kill"], "action": "SCMP_ACT_KILL"},
        ],
    )
    assert found["defaultAction"] == "SCMP_ACT_ALLOW" and "defaultErrnoRet" not in found
    assert found["syscalls"] == [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["ptrace"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
        {"names": ["kill"], "action": "SCMP_ACT_KILL"},
    ]


def test_who_has_no_filter() -> None:
    for host in (
        HostConfig(privileged=True),
        HostConfig(security_opt=("seccomp=unconfined",)),
        HostConfig(security_opt=("seccomp={}",)),
    ):
        assert container_rules(host, MACHINE) is None
    assert document(privileged=True, security_opt=('seccomp={"defaultAction":"SCMP_ACT_LOG"}',)) == {
        "defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [],
    }  # fmt: skip
    with pytest.raises(ContainerError, match="is unknown"):
        document(security_opt=('seccomp={"defaultAction":"SCMP_ACT_SING"}',))

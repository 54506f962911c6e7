"""Capabilities and security options of a container."""

import pytest

from firkin.containers.documents.profile import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    Security,
    capability_mask,
    capability_names,
    parse_security,
)
from firkin.errors import ContainerError


def test_numbers_of_capabilities_are_the_kernels() -> None:
    assert capability_mask(("CHOWN", "SYS_ADMIN", "CHECKPOINT_RESTORE")) == 1 << 0 | 1 << 21 | 1 << 40
    assert capability_mask(tuple(DEFAULT_CAPABILITIES)) == 0x00000000A80425FB  # CapBnd in a container of docker


@pytest.mark.parametrize(
    ("add", "drop", "names"),
    [
        ((), (), set(DEFAULT_CAPABILITIES)),
        (("cap_net_admin",), ("CHOWN",), set(DEFAULT_CAPABILITIES) - {"CHOWN"} | {"NET_ADMIN"}),
        ((), ("all",), set()),
        (("KILL",), ("ALL",), {"KILL"}),
        (("ALL",), ("SYS_ADMIN",), set(CAPABILITIES) - {"SYS_ADMIN"}),
        (("ALL",), ("ALL", "KILL"), set(CAPABILITIES) - {"KILL"}),
        (("KILL",), ("KILL",), set(DEFAULT_CAPABILITIES)),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], names: set[str]) -> None:
    found = capability_names(add, drop, privileged=False)
    assert set(found) == names
    assert list(found) == sorted(found, key=CAPABILITIES.index)


def test_a_privileged_container_has_all_whatever_was_dropped() -> None:
    assert capability_names((), ("ALL",), privileged=True) == CAPABILITIES


def test_a_capability_that_is_none() -> None:
    with pytest.raises(ContainerError, match="`CAP_FLY`"):
        capability_names(("CAP_FLY",), (), privileged=False)


@pytest.mark.parametrize(
    ("options", "security"),
    [
        ((), Security()),
        (("no-new-privileges",), Security(no_new_privileges=True)),
        (("no-new-privileges:false",), Security()),
        (("seccomp=unconfined", "apparmor:mine"), Security(seccomp="unconfined", apparmor="mine")),
        (("seccomp=builtin",), Security()),
        (('seccomp={"a": "b=c"}',), Security(seccomp='{"a": "b=c"}')),
        (("label=user:a", "label=disable"), Security(labels=("user:a", "disable"))),
        (
            ("systempaths=unconfined", "writable-cgroups=true"),
            Security(systempaths="unconfined", writable_cgroups=True),
        ),
    ],
)
def test_security_options(options: tuple[str, ...], security: Security) -> None:
    assert parse_security(options) == security


@pytest.mark.parametrize("text", ["", "seccomp", "other=1"])
def test_wrong_security_options(text: str) -> None:
    with pytest.raises(ContainerError, match="invalid security option"):
        parse_security((text,))

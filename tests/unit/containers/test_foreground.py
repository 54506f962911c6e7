"""What a container cannot have where nothing can be mounted or unshared."""

import pytest

from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.foreground import check_foreground
from firkin.errors import ContainerError


@pytest.mark.parametrize(
    ("host", "what"),
    [
        (HostConfig(blkio_weight=100), "a limit of block I/O"),
        (HostConfig(cgroup_parent="/x"), "a control group"),
        (HostConfig(device_cgroup_rules=("c 13:* rwm",)), "a device"),
        (HostConfig(group_add=("7",)), "further groups"),
        (HostConfig(memory_swappiness=10), "a way of swapping out"),
        (HostConfig(oom_score_adj=500), "an OOM score"),
        (HostConfig(security_opt=("no-new-privileges",)), "a security option"),
        (HostConfig(shm_size=1 << 20), "shared memory of another size"),
    ],
)
def test_nothing_is_ignored_in_silence(host: HostConfig, what: str) -> None:
    with pytest.raises(ContainerError, match=f"^{what} cannot be had here: this machine allows neither") as caught:
        check_foreground(Config(), host)
    assert (caught.value.exit_code, bool(caught.value.hints)) == (125, True)


def test_limits_are_warned_about_if_that_is_enough() -> None:
    """And nothing else is."""
    host = HostConfig(memory=64 << 20, pids_limit=9, cgroup_parent="/x")
    memory, processes, group = check_foreground(Config(), host, policy="warn")
    assert memory.endswith("so it has not a limit of memory.")
    assert (processes.endswith("a limit of processes."), group.endswith("a control group.")) == (True, True)
    with pytest.raises(ContainerError, match="a device"):
        check_foreground(Config(), HostConfig(memory=64 << 20, device_cgroup_rules=("c 13:* rwm",)), policy="warn")


def test_what_is_as_always_is_not_refused() -> None:
    check_foreground(Config(), HostConfig(shm_size=64 << 20, security_opt=("seccomp=unconfined",)))
    with pytest.raises(ContainerError, match="a host name of its own"):
        check_foreground(Config(hostname="there"), HostConfig())

"""Which namespaces a container has, and in which order its mounts come."""

import pytest

from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.record import MountPoint, Record
from firkin.containers.planning.surroundings import (
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    modes_of,
    mount_operations,
    mounts_in_proc,
)
from firkin.errors import ContainerError
from firkin.sandbox import operations as op

OTHER, THIRD = "b" * 64, "c" * 64


def record(*mounts: MountPoint, **host: str) -> Record:
    fields = {"network_mode": "host", **host}
    return Record(1, "a" * 64, "web", "", "", Config(), HostConfig(**fields), "sh", (), ("top",), mounts)  # type: ignore[arg-type]


def test_of_its_own_are_all_but_the_network_of_the_machine() -> None:
    modes = modes_of(record(), user=False, cgroups=2)
    assert modes.unshared == NEWNS | NEWPID | NEWIPC | NEWUTS | NEWCGROUP
    assert (modes.targets, modes.own_network, modes.own_names, modes.own_pids, modes.shm) == (
        (),
        False,
        True,
        True,
        "own",
    )
    assert modes_of(record(network_mode="none"), user=True, cgroups=2).unshared == modes.unshared | NEWNET | NEWUSER


@pytest.mark.parametrize(
    ("mode", "version", "private"), [("", 1, False), ("", 2, True), ("private", 1, True), ("host", 2, False)]
)
def test_private_control_groups_are_the_default_of_version_2(mode: str, version: int, private: bool) -> None:
    assert bool(modes_of(record(cgroupns_mode=mode), user=False, cgroups=version).unshared & NEWCGROUP) is private


def test_namespaces_of_the_machine() -> None:
    modes = modes_of(record(pid_mode="host", ipc_mode="host", uts_mode="host"), user=False, cgroups=1)
    assert (modes.unshared, modes.own_pids, modes.own_names, modes.shm) == (NEWNS, False, False, "host")


def test_what_is_joined_is_one_target_for_each_container() -> None:
    host = {"network_mode": f"container:{OTHER}", "ipc_mode": f"container:{OTHER}", "pid_mode": f"container:{THIRD}"}
    modes = modes_of(record(**host), user=False, cgroups=1)
    assert {id: flags for flags, id in modes.targets} == {OTHER: NEWNET | NEWIPC, THIRD: NEWPID}
    assert (modes.shm, modes.files_of) == ("joined", OTHER)
    assert modes.all_own == NEWNS | NEWUTS | NEWNET | NEWIPC | NEWPID


def test_without_root_one_container_is_joined_with_its_user_namespace() -> None:
    modes = modes_of(record(network_mode=f"container:{OTHER}"), user=True, cgroups=2)
    assert modes.targets == ((NEWNET | NEWUSER, OTHER),)
    assert not modes.unshared & NEWUSER
    with pytest.raises(ContainerError, match="only one other container"):
        modes_of(record(network_mode=f"container:{OTHER}", pid_mode=f"container:{THIRD}"), user=True, cgroups=2)


def test_a_network_that_is_not_there() -> None:
    with pytest.raises(ContainerError, match="network mine not found"):
        modes_of(record(network_mode="mine"), user=False, cgroups=2)


def test_shallow_mounts_come_first_and_hide_files_of_etc() -> None:
    made = record(
        MountPoint("bind", "/srv/a//b/", source="/deep"),
        MountPoint("bind", "/srv", source="/shallow", rw=False),
        MountPoint("bind", "/etc/hosts", source="/mine"),
    )
    found = mount_operations(made, "/store/containers/x", "/trees", modes_of(made, user=False, cgroups=2), nodev=4)
    places = [each.target for each in found.attaches if isinstance(each, op.Attach)]
    assert places.index("/srv") < places.index("/srv/a/b")
    assert places.count("/etc/hosts") == 1
    taken = {each.source: each for each in found.takes if isinstance(each, op.Take)}
    assert "/store/containers/x/hosts" not in taken
    assert taken["/shallow"].readonly == "recursive" and taken["/deep"].readonly == ""
    assert all(each.attributes == 4 for each in taken.values())


def test_files_of_a_joined_network_are_the_other_containers() -> None:
    made = record(network_mode=f"container:{OTHER}")
    found = mount_operations(made, "/store/containers/x", "/trees", modes_of(made, user=False, cgroups=2), nodev=0)
    assert {each.source for each in found.takes if isinstance(each, op.Take)} == {
        f"/store/containers/{OTHER}/{name}" for name in ("hosts", "hostname", "resolv.conf")
    }


@pytest.mark.parametrize(
    ("options", "rw", "flags"),
    [
        ((), True, 2 | 4 | 8),
        (("exec", "size=1m"), True, 2 | 4),
        (("suid", "dev", "exec"), True, 0),
        ((), False, 1 | 2 | 4 | 8),
    ],
)
def test_tmpfs(options: tuple[str, ...], rw: bool, flags: int) -> None:
    made = record(MountPoint("tmpfs", "/run", options=options, rw=rw))
    found = mount_operations(made, "/c", "/trees", modes_of(made, user=False, cgroups=2), nodev=0)
    [tmpfs] = [each for each in found.attaches if isinstance(each, op.TmpfsOptions)]
    assert tmpfs.attributes == flags
    assert dict(tmpfs.options) == ({"size": "1m"} if "size=1m" in options else {})


def test_in_proc_only_a_few_files_are_covered() -> None:
    good = record(MountPoint("bind", "/proc/meminfo", source="/lxcfs/meminfo"))
    assert mounts_in_proc(good) == (op.AttachInProc("mount-0", "meminfo"),)
    for target in ("/proc", "/proc/sys", "/proc//self/../sys", "/proc/1/attr"):
        bad = record(MountPoint("bind", target, source="/x"))
        with pytest.raises(ContainerError, match="inside /proc"):
            mount_operations(bad, "/c", "/trees", modes_of(bad, user=False, cgroups=2), nodev=0)

"""From a record to what is performed: the process, what is hidden from it, and the same as an OCI bundle says it."""

from typing import Any

import msgspec
import pytest

from firkin.containers.documents.config import Config, Device, HostConfig, Ulimit
from firkin.containers.documents.profile import MASKED_PATHS, READONLY_PATHS, capability_mask
from firkin.containers.documents.record import MountPoint, Record
from firkin.containers.planning.bundle_spec import Known, runtime_spec
from firkin.containers.planning.plan import Place, environment, plan_container
from firkin.errors import ContainerError
from firkin.linux.idmap import IdMaps, IdRange
from firkin.sandbox import operations as op

MAPS = IdMaps((IdRange(0, 1000, 1), IdRange(1, 100000, 65536)), (IdRange(0, 1000, 1),), ("new", "newg"))


def record(config: Config | None = None, path: str = "sh", **host: Any) -> Record:
    settings = HostConfig(**{"network_mode": "host", **host})
    return Record(1, "a" * 64, "web", "", "", config or Config(), settings, path, ("-c", "x"), ("top", "base"))


def planned(made: Record, **place: Any) -> op.Contained:
    return op.unpack_contained(plan_container(made, Place("/c/a", "/trees", "x86_64", **place)).plan, {})


def hidden(plan: op.Contained) -> tuple[tuple[str, ...], tuple[str, ...]]:
    [cover] = [each for each in plan.inside if isinstance(each, op.Cover)]
    [fix] = [each for each in plan.inside if isinstance(each, op.Fix)]
    return cover.paths, fix.paths


@pytest.mark.parametrize(
    ("host", "masked", "fixed"),
    [
        ({}, MASKED_PATHS, READONLY_PATHS),
        ({"masked_paths": (), "readonly_paths": ("/proc/x",)}, (), ("/proc/x",)),
        ({"privileged": True}, (), ()),
        ({"security_opt": ("systempaths=unconfined",)}, (), ()),
    ],
)
def test_paths_are_hidden_in_the_plan_and_in_the_bundle_alike(host: Any, masked: Any, fixed: Any) -> None:
    made = record(**host)
    assert hidden(planned(made)) == (masked, fixed)
    linux = runtime_spec(made, Known((0, 0, (), "/root")))["linux"]
    assert (tuple(linux["maskedPaths"]), tuple(linux["readonlyPaths"])) == (masked, fixed)


def test_the_machine_sees_no_mount_of_layers() -> None:
    """Its mounts and the container's may tell each other of new ones until they are made private."""
    mounts = (MountPoint("image", "/i", trees=("one", "two")), MountPoint("bind", "/b", source="/srv", propagation="rshared"))
    made = msgspec.structs.replace(record(), mounts=mounts)
    kinds = [type(each) for each in planned(made).setup]
    assert kinds.index(op.Take) < kinds.index(op.Private) < kinds.index(op.BindLayers)


def test_environment_is_the_requests_over_what_there_always_is() -> None:
    made = record(Config(hostname="box", tty=True, env=("A=1", "A=2", "TERM", "B=x=y", "HOSTNAME=mine")))
    found = environment(made)
    assert found.pop("PATH").startswith("/usr/local/sbin:")
    assert found == {"A": "2", "B": "x=y", "HOSTNAME": "mine"}


def test_the_process_has_what_was_asked() -> None:
    made = record(
        Config(user="me", working_dir="/srv"), cap_drop=("ALL",), cap_add=("KILL",), oom_score_adj=7, group_add=("5",),
        ulimits=(Ulimit("nofile", 10, 20),), security_opt=("no-new-privileges", "apparmor=unconfined"),
    )  # fmt: skip
    process = planned(made).process
    assert (process.argv, process.cwd, process.user, process.groups) == (("sh", "-c", "x"), "/srv", "me", ("5",))
    assert (process.keep, process.no_new_privs, process.apparmor) == (capability_mask(("KILL",)), True, "")
    assert (process.oom_score, process.limits) == (7, (("nofile", 7, 10, 20),))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (record(path=""), "no command specified"),
        (record(ulimits=(Ulimit("wings", 1, 1),)), "invalid ulimit type: wings"),
        (record(network_mode="mine"), "network mine not found"),
    ],
)
def test_what_cannot_be_run(made: Record, words: str) -> None:
    with pytest.raises(ContainerError, match=words):
        planned(made)


@pytest.mark.parametrize(
    ("host", "place", "nodev"),
    [
        ({}, {}, True),  # nothing else keeps it from making a node of the machine's disk
        ({}, {"guarded": True}, False),
        ({}, {"maps": MAPS}, False),
        ({"privileged": True}, {}, False),
    ],
)
def test_nodes_of_devices_are_useless_where_nothing_else_guards_them(host: Any, place: Any, nodev: bool) -> None:
    [overlay] = [each for each in planned(record(**host), **place).setup if isinstance(each, op.OverlayRoot)]
    assert bool(overlay.attributes) is nodev
    assert overlay.lowers[:2] == ("/trees/top/fs", "/trees/base/fs")


def test_devices_and_shared_memory() -> None:
    made = record(devices=(Device("/dev/fuse", "", "rwm"), Device("/dev/a", "/dev/b", "r")), shm_size=4096)
    setup = planned(made).setup
    [nodes] = [each for each in setup if isinstance(each, op.DeviceNodes)]
    assert nodes.devices[-2:] == (("/dev/fuse", "/dev/fuse"), ("/dev/b", "/dev/a"))
    [shm] = [each for each in setup if isinstance(each, op.MountNew) and each.target == "/dev/shm"]
    assert ("size", "4096") in shm.options


def test_a_second_command_joins_all_that_the_first_has_of_its_own() -> None:
    plan = plan_container(record(network_mode="none"), Place("/c/a", "/trees", "x86_64", maps=MAPS))
    first, second = op.unpack_contained(plan.plan, {}), op.unpack_contained(plan.exec, {})
    assert (second.namespaces, second.joined) == (0, (first.namespaces,))
    assert not second.process.make_cwd and first.process.make_cwd
    assert plan.maps is not None and plan.maps["uid"] == [[0, 1000, 1], [1, 100000, 65536]]


def test_a_bundle_says_what_it_cannot_have() -> None:
    for host in ({"init": True}, {"network_mode": f"container:{'b' * 64}"}):
        with pytest.raises(ContainerError, match="a bundle"):
            runtime_spec(record(**host), Known((0, 0, (), "/")))

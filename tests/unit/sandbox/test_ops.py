"""The plan for `init.py`."""

import marshal

import pytest
from msgspec.structs import replace

from firkin.errors import UsageError
from firkin.linux.mounts import Overlay
from firkin.oci.run import FileMount, HostMount, MemoryMount, Mount, RunSpec, Ulimit
from firkin.sandbox.ops import hosts_file, namespace_plan

ROOT = Overlay(("/a", "/b"), "/s/upper", "/s/work", "/s/run")


def plan(spec: RunSpec, root: Overlay | str = ROOT, *, single_id: bool = False, fresh_proc: bool = True) -> dict:
    made = namespace_plan(spec, root, "/s/run", parent=7, machine="x86_64", single_id=single_id, fresh_proc=fresh_proc)
    assert marshal.loads(marshal.dumps(made)) == made
    return made


def names(operations: list) -> list[str]:
    return [operation[0] for operation in operations]


def test_order_of_work() -> None:
    made = plan(RunSpec(("true",), "step"))
    order = names(made["setup"])
    assert order[:3] == ["private", "mkdir", "mkdir"]
    assert max(at for at, name in enumerate(order) if name in ("bind", "files", "sysfs", "stub")) < order.index(
        "overlay"
    )
    # Nothing is looked up while the old root lies over the new one: neither here nor before `leave`.
    assert order.index("overlay") < order.index("own_point") < order.index("attach")
    assert order[-1] == "pivot"
    inside = names(made["inside"])
    assert inside.index("proc") < inside.index("leave") < inside.index("mask")


def test_stubs_lie_below_the_layers() -> None:
    overlay = next(op for op in plan(RunSpec(("true",), "step"))["setup"] if op[0] == "overlay")
    assert overlay[1] == ("/a", "/b", "/s/run/stubs")


def test_mounts_go_from_the_root_down() -> None:
    mounts: tuple[Mount, ...] = (
        FileMount("/m/deep/secret", b"x"),
        MemoryMount("/m/deep", size_bytes=5, mode=0o700),
        HostMount("/m/", ("/src",), "sub"),
    )
    setup = plan(RunSpec(("true",), "step", mounts=mounts))["setup"]
    placed = [
        op[2] if op[0] == "attach" else op[1]
        for op in setup
        if op[0] == "tmpfs" or (op[0] == "attach" and "mount-" in op[1])
    ]
    assert placed == ["/m", "/m/deep", "/m/deep/secret"]


@pytest.mark.parametrize(
    ("mount", "operation"),
    [
        (HostMount("/m", ("/src",)), "bind"),
        (HostMount("/m", ("/src",), "p"), "bind_beneath"),
        (HostMount("/m", ("/src",), "p", readonly=False, discard=True), "bind_layers"),
        (HostMount("/m", ("/a", "/b"), "p"), "bind_layers"),
    ],
)
def test_ways_to_take_hold(mount: HostMount, operation: str) -> None:
    setup = plan(RunSpec(("true",), "step", mounts=(mount,)))["setup"]
    assert [op[0] for op in setup if op[1:2] == ("mount-0",) and op[0] != "attach"] == [operation]


@pytest.mark.parametrize("target", ["", "relative", "/", "/a/../b", "/proc/x", "/a\0b", "/./"])
def test_impossible_targets(target: str) -> None:
    with pytest.raises(UsageError):
        plan(RunSpec(("true",), "step", mounts=(MemoryMount(target),)))


def test_security_and_network() -> None:
    ordinary, insecure = plan(RunSpec(("true",), "step")), plan(RunSpec(("true",), "step", security="insecure"))
    assert ordinary["command"]["keep"] >> 21 & 1 == 0  # CAP_SYS_ADMIN
    assert insecure["command"]["keep"] == -1
    assert ordinary["command"]["confine"] is not None and insecure["command"]["confine"] is None
    assert "mask" not in names(insecure["inside"])
    # What it attached to a loop device stays open for writing, and would be waited for.
    assert names(ordinary["after"]) == ["freeze"] and not insecure["after"]
    assert "devices" in names(insecure["setup"]) and "devices" not in names(ordinary["setup"])
    assert plan(RunSpec(("true",), "step", network="none"))["namespaces"] & 0x40000000
    assert not ordinary["namespaces"] & 0x40000000


def test_one_id_mutes_and_does_not_switch() -> None:
    made = plan(RunSpec(("true",), "step", uid=5, mounts=(FileMount("/f", b"", uid=5),)), single_id=True)
    assert not made["command"]["switch"]
    assert made["asked"]["owners"] and not made["command"]["filters"]
    assert ("owners", "/s/upper", "/s/run/owners") in made["setup"]
    insecure = RunSpec(("true",), "step", security="insecure")
    assert plan(insecure, single_id=True)["asked"]["owners"] and plan(insecure)["asked"] is None
    ordinary = plan(RunSpec(("true",), "step"))
    assert not ordinary["asked"]["owners"] and "owners" not in names(ordinary["setup"])
    files = next(op for op in made["setup"] if op[0] == "files")[2]
    assert files[-1][3:] == (0, 0)


def test_without_a_fresh_proc_processes_are_shared() -> None:
    made = plan(RunSpec(("true",), "step"), fresh_proc=False)
    assert made["command"]["confine"][0] and not plan(RunSpec(("true",), "step"))["command"]["confine"][0]
    assert not made["namespaces"] & 0x20000000
    assert "proc" not in names(made["inside"])


def test_a_directory_is_used_in_place() -> None:
    order = names(plan(RunSpec(("true",), "step"), "/some/root")["setup"])
    assert "bindroot" in order
    assert "stub" not in order


def test_limits() -> None:
    spec = RunSpec(("true",), "step", ulimits=(Ulimit("nofile", 10, 20),))
    assert plan(spec)["command"]["limits"] == [("nofile", 7, 10, 20)]
    with pytest.raises(UsageError, match="unknown ulimit"):
        plan(replace(spec, ulimits=(Ulimit("files", 1, 1),)))


def test_hosts() -> None:
    text = hosts_file(RunSpec(("true",), "step", hosts=(("db", "10.0.0.1"),))).decode()
    loopback = "127.0.0.1\tlocalhost step\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    assert text == loopback + "10.0.0.1\tdb\n"


def test_secrets_do_not_show() -> None:
    assert "hidden" not in repr(FileMount("/run/secrets/x", b"hidden"))

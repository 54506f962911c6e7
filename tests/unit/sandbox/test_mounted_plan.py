"""The plan of a command in namespaces."""

import marshal

import pytest
from msgspec.structs import replace

from firkin.errors import UsageError
from firkin.linux.mounts import Overlay
from firkin.oci.run import FileMount, HostMount, MemoryMount, Mount, RunSpec
from firkin.oci.run_settings import Ulimit
from firkin.sandbox import operations
from firkin.sandbox.command_plan import hosts_file
from firkin.sandbox.mounted_plan import prepare, prepare_joined
from firkin.sandbox.operations import Plan, pack, unpack

ROOT = Overlay(("/a", "/b"), "/s/upper", "/s/work", "/s/run")


def plan(spec: RunSpec, root: Overlay | str = ROOT, *, single_id: bool = False, fresh_proc: bool = True) -> Plan:
    made = prepare(spec, root, "/s/run", parent=7, machine="x86_64", single_id=single_id, fresh_proc=fresh_proc)
    assert unpack(marshal.loads(marshal.dumps(pack(made)))) == made
    return made


def names(performed: tuple[object, ...]) -> list[str]:
    return [type(operation).__name__ for operation in performed]


def test_order_of_work() -> None:
    made = plan(RunSpec(("true",), "step"))
    order = names(made.setup)
    assert order[:3] == ["Private", "MakeDirectory", "MakeDirectory"]
    assert max(at for at, name in enumerate(order) if name in ("Bind", "Files", "Sysfs", "Stub")) < order.index(
        "OverlayRoot"
    )
    # Nothing is looked up while the old root lies over the new one: neither here nor before `leave`.
    assert order.index("OverlayRoot") < order.index("OwnPoint") < order.index("Attach")
    assert order[-1] == "Pivot"
    inside = names(made.inside)
    assert inside.index("Proc") < inside.index("Leave") < inside.index("Mask")


def test_stubs_lie_below_the_layers() -> None:
    setup = plan(RunSpec(("true",), "step")).setup
    overlay = next(op for op in setup if isinstance(op, operations.OverlayRoot))
    assert overlay.lowers == ("/a", "/b", "/s/run/stubs")


def test_mounts_go_from_the_root_down() -> None:
    mounts: tuple[Mount, ...] = (
        FileMount("/m/deep/secret", b"x"),
        MemoryMount("/m/deep", size_bytes=5, mode=0o700),
        HostMount("/m/", ("/src",), "sub"),
    )
    setup = plan(RunSpec(("true",), "step", mounts=mounts)).setup
    placed = [
        op.target
        for op in setup
        if isinstance(op, operations.Tmpfs) or (isinstance(op, operations.Attach) and "mount-" in op.name)
    ]
    assert placed == ["/m", "/m/deep", "/m/deep/secret"]


@pytest.mark.parametrize(
    ("mount", "operation"),
    [
        (HostMount("/m", ("/src",)), "Bind"),
        (HostMount("/m", ("/src",), "p"), "BindBeneath"),
        (HostMount("/m", ("/src",), "p", readonly=False, discard=True), "BindLayers"),
        (HostMount("/m", ("/a", "/b"), "p"), "BindLayers"),
    ],
)
def test_ways_to_take_hold(mount: HostMount, operation: str) -> None:
    setup = plan(RunSpec(("true",), "step", mounts=(mount,))).setup
    assert [name for name in names(tuple(op for op in setup if op[:1] == ("mount-0",))) if name != "Attach"] == [operation]


@pytest.mark.parametrize("target", ["", "relative", "/", "/a/../b", "/proc/x", "/a\0b", "/./"])
def test_impossible_targets(target: str) -> None:
    with pytest.raises(UsageError):
        plan(RunSpec(("true",), "step", mounts=(MemoryMount(target),)))


def test_security_and_network() -> None:
    ordinary, insecure = plan(RunSpec(("true",), "step")), plan(RunSpec(("true",), "step", security="insecure"))
    assert ordinary.command.keep >> 21 & 1 == 0  # CAP_SYS_ADMIN
    assert insecure.command.keep == -1
    assert ordinary.confinement is not None and insecure.confinement is None
    assert "Mask" not in names(insecure.inside)
    # What it attached to a loop device stays open for writing, and would be waited for.
    assert names(ordinary.after) == ["Freeze"] and not insecure.after
    assert "Devices" in names(insecure.setup) and "Devices" not in names(ordinary.setup)
    assert plan(RunSpec(("true",), "step", network="none")).namespaces & 0x40000000
    assert not ordinary.namespaces & 0x40000000


def test_one_id_mutes_and_does_not_switch() -> None:
    made = plan(RunSpec(("true",), "step", uid=5, mounts=(FileMount("/f", b"", uid=5),)), single_id=True)
    assert not made.command.switch
    assert made.questions and made.questions.owners and not made.command.filters
    assert operations.KeepOwners("/s/upper", "/s/run/owners") in made.setup
    insecure = RunSpec(("true",), "step", security="insecure")
    asked = plan(insecure, single_id=True).questions
    assert asked and asked.owners and plan(insecure).questions is None
    ordinary = plan(RunSpec(("true",), "step"))
    assert ordinary.questions and not ordinary.questions.owners and "KeepOwners" not in names(ordinary.setup)
    files = next(op for op in made.setup if isinstance(op, operations.Files)).files
    assert files[-1][3:] == (0, 0)


def test_without_a_fresh_proc_processes_are_shared() -> None:
    made = plan(RunSpec(("true",), "step"), fresh_proc=False)
    ordinary = plan(RunSpec(("true",), "step"))
    assert made.confinement and made.confinement.shared and ordinary.confinement and not ordinary.confinement.shared
    assert not made.namespaces & 0x20000000
    assert "Proc" not in names(made.inside)


def test_a_directory_is_used_in_place() -> None:
    order = names(plan(RunSpec(("true",), "step"), "/some/root").setup)
    assert "BindRoot" in order
    assert "Stub" not in order


def test_limits() -> None:
    spec = RunSpec(("true",), "step", ulimits=(Ulimit("nofile", 10, 20),))
    assert plan(spec).command.limits == (("nofile", 7, 10, 20),)
    with pytest.raises(UsageError, match="unknown ulimit"):
        plan(replace(spec, ulimits=(Ulimit("files", 1, 1),)))


@pytest.mark.parametrize("single_id", [False, True])
def test_a_second_command_has_the_limits_of_the_first(single_id: bool) -> None:
    spec = RunSpec(("true",), "step", uid=5)
    first = plan(spec, single_id=single_id)
    second = prepare_joined(spec, first.namespaces, parent=7, machine="x86_64", single_id=single_id)
    assert unpack(marshal.loads(marshal.dumps(pack(second)))) == second
    assert second.joins and not (second.setup or second.inside or second.after)
    assert (second.namespaces, second.confinement) == (first.namespaces, first.confinement)
    if not single_id:
        assert (second.command, second.questions) == (first.command, first.questions)
    else:  # nobody notes owners for it: the calls succeed without effect
        assert first.questions and second.questions is None
        assert second.command.filters == (first.questions.instead,)
        assert (second.command.switch, second.command.keep) == (first.command.switch, first.command.keep)


def test_hosts() -> None:
    text = hosts_file(RunSpec(("true",), "step", hosts=(("db", "10.0.0.1"),))).decode()
    loopback = "127.0.0.1\tlocalhost step\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    assert text == loopback + "10.0.0.1\tdb\n"

"""The plan for a command without mounts."""

import marshal

import pytest

from firkin.errors import HostError, UsageError
from firkin.oci.run import FileMount, HostMount, MemoryMount, RunSpec
from firkin.sandbox.command_plan import sorted_mounts
from firkin.sandbox.emulated_plan import MountSource, prepare
from firkin.sandbox.mount_copies import prepare_sources
from firkin.sandbox.operations import Lend, OpenRoot, Plan, ShowEmpty, ShowFile, pack, unpack

SETPCAP, SYS_CHROOT, SYS_PTRACE, MKNOD = 8, 18, 19, 27


def plan(spec: RunSpec, root: str = "/root", sources: tuple[MountSource | None, ...] = ()) -> Plan:
    made = prepare(
        spec, root, "/s", parent=7, machine="x86_64", sources=sources, proc_files=(("version", b"Linux"),)
    )
    assert unpack(marshal.loads(marshal.dumps(pack(made)))) == made
    return made


def test_a_chroot_has_surroundings_and_no_way_out() -> None:
    made = plan(RunSpec(("true",), "step"))
    assert [type(operation).__name__ for operation in made.setup] == [
        "OpenRoot", "EmulateDevices", "ShowTexts", "ShowDirectory", "ShowFile", "ShowFile",
    ]  # fmt: skip
    assert made.command.chroot == "/root"
    assert made.command.keep >> SYS_CHROOT & 1 == 0
    assert made.command.keep >> MKNOD & 1 == 1
    assert made.namespaces == 0


def test_in_place_the_containers_own_surroundings_stay() -> None:
    made = plan(RunSpec(("true",), "step", hosts=(("db", "10.0.0.1"),), resolv_conf=b"nameserver 1.1.1.1\n"), "/")
    assert [type(operation).__name__ for operation in made.setup] == ["OpenRoot", "Amend", "Amend"]
    assert made.setup[0] == OpenRoot("/", "/s")
    assert made.command.chroot == ""
    # One right less than whoever is to be protected: ptrace(2), "Ptrace access mode checking".
    assert made.command.keep >> SETPCAP & 1 == 0


@pytest.mark.parametrize("root", ["/", "/root"])
def test_an_insecure_step_cannot_look_into_others_either(root: str) -> None:
    assert plan(RunSpec(("true",), "step", security="insecure"), root).command.keep >> SYS_PTRACE & 1 == 0


def test_no_network_is_a_filter() -> None:
    command = plan(RunSpec(("true",), "step", network="none")).command
    assert command.no_new_privs
    assert len(command.filters) == 1
    assert not plan(RunSpec(("true",), "step")).command.filters
    with pytest.raises(UsageError):
        prepare(RunSpec(("true",), "step", network="none"), "/", "/s", parent=7, machine="vax", sources=(), proc_files=())


def test_mounts_go_from_the_root_down() -> None:
    spec = RunSpec(
        ("true",),
        "step",
        mounts=(
            FileMount("/m/deep/secret", b"x", uid=5),
            MemoryMount("/m/deep", mode=0o700),
            HostMount("/m/", ("/cache",), readonly=False),
        ),
    )
    assert [mount.target for mount in sorted_mounts(spec)] == ["/m/", "/m/deep", "/m/deep/secret"]
    setup = plan(spec, sources=(MountSource("keep", "/cache"), None, None)).setup
    assert setup[-3:] == (
        Lend("/m", "/cache"),
        ShowEmpty("/m/deep", 0o700),
        ShowFile("/m/deep/secret", b"x", 0o400, 5, 0),
    )


def test_what_a_bind_mount_shows(tmp_path) -> None:
    below, above, cache, scratch = (tmp_path / name for name in ("below", "above", "cache", "scratch"))
    for place in (below, above, cache, scratch):
        (place / "dir").mkdir(parents=True)
    (below / "dir/one").write_text("1")
    (above / "dir/two").write_text("2")
    (above / "link").symlink_to("/dir")
    spec = RunSpec(
        ("true",),
        "step",
        mounts=(
            HostMount("/a", (str(above), str(below)), "link"),
            HostMount("/b", (str(cache),), readonly=False),
            MemoryMount("/c"),
        ),
    )
    layers, kept, nothing = prepare_sources(spec, str(scratch))
    assert nothing is None
    assert kept == MountSource("keep", str(cache))
    assert layers is not None
    assert layers.kind == "copy"
    copied = {path.name: path.read_text() for path in (scratch / "source-0/it").iterdir()}
    assert copied == {"one": "1", "two": "2"}
    with pytest.raises(HostError, match="no such file"):
        prepare_sources(RunSpec(("true",), "step", mounts=(HostMount("/a", (str(above),), "absent"),)), str(scratch))

"""The documents of `version`, `info` and the builders, against what docker's templates name."""

import os

import msgspec
import pytest

from firkin import __version__
from firkin.about import info
from firkin.about.as_docker import ENGINE_VERSION, program_name
from firkin.about.builders import NAME, checked_name, create_builder, find_builder
from firkin.about.containers import cgroup_facts, containers_document, count_containers, limit_fields, limit_warnings
from firkin.about.info import info_document
from firkin.about.version import version_document
from firkin.ambient import Ambient
from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.record import Record, State
from firkin.containers.limits.facts import CgroupFacts
from firkin.errors import UsageError
from firkin.linux.emulators import runnable_platforms
from firkin.registry.settings import Mirror, RegistrySettings
from firkin.settings import Settings
from firkin.store.names import count_in


def ambient(**environ: str) -> Ambient:
    return Ambient(environ, "/", "/root", 0, 0.0)


def test_client_and_server_are_one_program():
    document = version_document()
    assert document["Client"]["Version"] == document["Server"]["Version"] == ENGINE_VERSION
    assert document["Client"]["FirkinVersion"] == __version__ and document["Server"]["Platform"]["Name"].startswith("firkin")
    (engine,) = document["Server"]["Components"]
    assert engine["Version"] == ENGINE_VERSION and engine["Details"]["Os"] == "linux"


@pytest.mark.parametrize(("called", "name"), [
    ("/usr/bin/docker", "docker"), ("docker", "docker"), ("/x/docker/firkin", "firkin"), ("dockerd", "firkin"), ("", "firkin"),
])  # fmt: skip
def test_the_name_it_is_called_by(called, name):
    assert program_name(called) == name


def test_info_without_trials_makes_nothing(tmp_path):
    registry = RegistrySettings(insecure=("r.lan:5000",), mirrors=(Mirror("docker.io", "http://m"),), http_proxy="http://p")
    settings = Settings(root=str(tmp_path / "absent"), registry=registry)
    document = info_document(settings, ambient(DOCKER_HOST="tcp://x"), None)
    assert document["Images"] == 0 and document["Driver"] == "unknown" and document["Firkin"] == {}
    assert document["NCPU"] == len(os.sched_getaffinity(0)) and document["MemTotal"] > 1 << 20
    assert document["Architecture"] == os.uname().machine and document["HttpProxy"] == "http://p"
    assert document["RegistryConfig"]["Mirrors"] == ["http://m"] and "r.lan:5000" in document["RegistryConfig"]["IndexConfigs"]
    assert document["Warnings"][0] == "DOCKER_HOST is set, and not read: firkin has no daemon"
    assert not (tmp_path / "absent").exists()


def test_no_password_of_a_proxy_or_mirror_is_told(tmp_path):
    registry = RegistrySettings(
        mirrors=(Mirror("docker.io", "https://me:secret@m/v2"),),
        http_proxy="http://me:secret@p:1", https_proxy="me:secret@p:2",
    )  # fmt: skip
    document = info_document(Settings(root=str(tmp_path), registry=registry), ambient(), None)
    assert (document["HttpProxy"], document["HttpsProxy"]) == ("http://xxxxx:xxxxx@p:1", "xxxxx:xxxxx@p:2")
    assert document["RegistryConfig"]["Mirrors"] == ["https://xxxxx:xxxxx@m/v2"]


@pytest.mark.parametrize(("isolation", "driver", "warnings"), [
    ("overlay + namespaces: root", "overlay", []),
    ("none: no rights", "none", ["no way to run commands on this machine: no rights"]),
])  # fmt: skip
def test_info_with_the_facts_of_trials(tmp_path, isolation, driver, warnings):
    document = info_document(Settings(root=str(tmp_path)), ambient(), lambda: {"isolation": isolation}, debug=True)
    unlimited = limit_warnings(cgroup_facts(ambient()))  # whoever may not write to control groups has some
    assert (document["Driver"], document["Warnings"], document["Debug"]) == (driver, [*warnings, *unlimited], True)
    assert document["Firkin"] == {"isolation": isolation}


def test_the_file_system_of_the_store_is_that_of_the_longest_mount_point(tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /var/li rw shared:1 - xfs /dev/b rw\n"
        "3 1 8:3 / /var/with\\040blank rw - btrfs /dev/c rw\n4 1 8:4 / /var/with\\040blank rw - tmpfs t rw\n"
    )
    monkeypatch.setattr(info, "_FILE_SYSTEMS", str(table))
    for root, expected in (("/var/lib/x", "ext4"), ("/var/li/x", "xfs"), ("/var/with blank/x", "tmpfs"), ("/", "ext4")):
        assert info._file_system(root) == expected


def test_images_are_counted_once_whatever_their_names(tmp_path):
    (tmp_path / "oci").mkdir()
    (tmp_path / "oci/index.json").write_text('{"manifests": [{"digest": "a"}, {"digest": "a"}, {"digest": "b"}]}')
    assert count_in(str(tmp_path)) == 2 and count_in(str(tmp_path / "absent")) == 0


def test_platforms_that_run_here(tmp_path):
    for name, text in (("qemu-aarch64", "enabled\n"), ("qemu-arm", "disabled\n"), ("python3", "enabled\n"), ("status", "enabled\n")):
        (tmp_path / name).write_text(text)
    own, *others = map(str, runnable_platforms(str(tmp_path)))
    assert own == f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(os.uname().machine, os.uname().machine) }"
    assert "linux/arm/v7" not in others and ("linux/arm64" in others or own == "linux/arm64")
    assert runnable_platforms(str(tmp_path / "absent"))


def test_every_name_means_the_one_builder():
    assert find_builder().name == NAME and find_builder("other").name == "other"
    assert create_builder("", "", "") == NAME
    for driver in ("", "docker", "docker-container", "firkin"):
        assert create_builder("ci-1", driver, "default") == "ci-1"


@pytest.mark.parametrize(("name", "driver", "endpoint", "message"), [
    ("default", "", "", "default is a reserved name"),
    ("x", "kubernetes", "", "no driver `kubernetes`"),
    ("x", "remote", "tcp://far:1234", "no driver `remote`"),
    ("x", "", "ssh://me@far", "cannot build at `ssh://me@far`"),
    ("a/b", "", "", "invalid builder name `a/b`"),
])  # fmt: skip
def test_builders_that_cannot_be(name, driver, endpoint, message):
    with pytest.raises(UsageError, match=message):
        create_builder(name, driver, endpoint)


@pytest.mark.parametrize("name", ["", "1a", "-x", "a b", "ä", "a\n"])
def test_names_that_no_builder_has(name):
    with pytest.raises(UsageError, match="invalid builder name"):
        checked_name(name)


HERE = CgroupFacts(
    0, 1, "hybrid", "cgroupfs", {"memory": "/m"}, features=frozenset(("memory", "swap", "pids", "freeze")),
)  # fmt: skip
NOWHERE = CgroupFacts(7, layout="v1", missing="control groups of version 1 belong to root alone", way_out="run as root")


def test_limits_in_dockers_fields():
    fields = limit_fields(HERE)
    assert fields["MemoryLimit"] and fields["SwapLimit"] and fields["PidsLimit"]
    assert not fields["CpuCfsQuota"] and not fields["CPUSet"]
    assert (fields["CgroupDriver"], fields["CgroupVersion"]) == ("cgroupfs", "1")
    assert limit_warnings(HERE) == ["No cpu cfs period support", "No cpu cfs quota support", "No cpu shares support",
                                    "No cpuset support"]  # fmt: skip


def test_a_user_without_control_groups_is_told_once():
    assert limit_fields(NOWHERE)["CgroupDriver"] == "none"
    assert limit_warnings(NOWHERE) == [
        "Running in rootless-mode without cgroups. Systemd is required to enable cgroups in rootless-mode."]  # fmt: skip


def test_limits_with_their_reasons():
    document = containers_document(HERE)
    assert {limit["what"] for limit in document["limits"] if limit["available"]} == {"memory", "swap", "processes"}
    document = containers_document(NOWHERE)
    assert {(limit["detail"], limit["how"]) for limit in document["limits"]} == {(NOWHERE.missing, "run as root")}
    assert document["pause"] == "signals to each process"


def test_containers_are_counted(tmp_path):
    for number, state in enumerate((State(running=True), State(running=True, paused=True), State(running=True, restarting=True),
                                    State(), State(started_at="2026-01-01T00:00:00Z"))):  # fmt: skip
        place = tmp_path / "containers" / f"{number:064x}"
        place.mkdir(parents=True)
        record = Record(1, place.name, f"c{number}", "", "", Config(), HostConfig(), "sh", (), ())
        (place / "config.json").write_bytes(msgspec.json.encode(record))
        (place / "state.json").write_bytes(msgspec.json.encode(state))
    assert count_containers(str(tmp_path), ambient()) == {
        "Containers": 5, "ContainersRunning": 2, "ContainersPaused": 1, "ContainersStopped": 2}  # fmt: skip

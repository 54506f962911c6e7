"""Lists of containers, and what inspect shows, of records that lie on disk."""

import os

import msgspec
import pytest

from firkin.containers.documents.config import Config, HostConfig, LogConfig
from firkin.containers.documents.record import Health, HealthEntry, MountPoint, Record, State
from firkin.containers.home.engine import Engine
from firkin.containers.inspect import inspect_container
from firkin.containers.list import Wanted, command_text, list_containers, summary
from firkin.errors import ContainerError

IMAGE = "sha256:" + "1" * 64
STARTED = "2026-01-02T03:04:05.5Z"


def add(engine, digit, name, created, state=None, **fields):
    """Put a container on disk, as `create` and its monitor leave it."""
    id = digit * 64
    directory = engine.home.directory(id)
    os.makedirs(directory)
    names = f"{engine.home.containers}/names"
    os.makedirs(names, exist_ok=True)
    os.symlink(id, f"{names}/{name}")
    values = {"config": Config(image="app:1"), "host_config": HostConfig(network_mode="none"), "mounts": ()}
    record = Record(1, id, name, created, IMAGE, path="sh", args=("-c", "echo a b"), trees=(), **{**values, **fields})
    for file, document in (("config.json", record), ("state.json", state or State())):
        with open(f"{directory}/{file}", "wb") as out:
            out.write(msgspec.json.encode(document))
    return record


@pytest.fixture
def engine(tmp_path):
    engine = Engine(str(tmp_path))
    add(engine, "a", "old", "2026-01-02T03:04:05.1Z", State(started_at=STARTED, finished_at=STARTED, exit_code=1))
    add(engine, "b", "middle", "2026-01-02T03:04:05.12Z")
    add(engine, "c", "new", "2026-01-02T03:04:06Z", State(running=True, started_at=STARTED, pid=7))
    add(engine, "d", "newest", "2026-01-02T03:05:00Z")
    return engine


def names(engine, *words, **filters):
    wanted = Wanted(every="all" in words, filters={key: tuple(values) for key, values in filters.items()})
    return [listed.entry.record.name for listed in list_containers(engine, wanted)]


def test_newest_first_and_only_what_runs(engine):
    assert names(engine) == ["new"]
    assert names(engine, "all") == ["newest", "new", "middle", "old"]


def test_a_limit_counts_stopped_ones_too(engine):
    listed = list_containers(engine, Wanted(limit=3))
    assert [one.entry.record.name for one in listed] == ["newest", "new", "middle"]
    listed = list_containers(engine, Wanted(limit=2, filters={"name": ("old|middle",)}))
    assert [one.entry.record.name for one in listed] == ["middle", "old"]


def test_before_and_since_name_containers(engine):
    assert names(engine, "all", before=["new"]) == ["middle", "old"]
    assert names(engine, "all", since=["b" * 12]) == ["newest", "new"]
    assert names(engine, "all", since=["old"], before=["newest"]) == ["new", "middle"]
    with pytest.raises(ContainerError, match="No such container: nothing"):
        names(engine, before=["nothing"])


def test_a_status_shows_stopped_ones(engine):
    assert names(engine, status=["exited", "running"]) == ["new", "old"]
    assert names(engine, exited=["1"]) == []
    assert names(engine, "all", exited=["1"]) == ["old"]


def test_no_store_is_an_empty_list(tmp_path):
    assert list_containers(Engine(str(tmp_path / "none")), Wanted(every=True)) == []
    assert not (tmp_path / "none").exists()


def test_an_image_whose_name_is_gone_is_shown_by_its_id(engine):
    assert {listed.image for listed in list_containers(engine, Wanted(every=True))} == {IMAGE}


def test_elements_of_the_list_have_no_nulls_and_names_with_a_slash(engine):
    """`Names` starts with a slash since clients cut one character; `Labels` and `Mounts` are never null; `Created` is
    a number."""
    (listed,) = list_containers(engine, Wanted())
    shown = summary(listed, 1767323050.0)
    assert shown["Names"] == ["/new"]
    assert (shown["Labels"], shown["Mounts"], shown["Ports"]) == ({}, [], [])
    assert shown["Created"] == 1767323046
    assert shown["Command"] == "sh -c 'echo a b'"
    assert (shown["State"], shown["Status"]) == ("running", "Up 4 seconds")
    assert shown["HostConfig"] == {"NetworkMode": "none"}
    assert list(shown["NetworkSettings"]["Networks"]) == ["none"]


def test_command():
    record = Record(1, "a" * 64, "x", STARTED, IMAGE, Config(), HostConfig(), "/bin/true", (), ())
    assert command_text(record) == "/bin/true"


def test_inspect_tells_null_from_zero(engine):
    """Clients compare what they asked for: memory swappiness, limits of processes, entry points, maps of ports."""
    document = inspect_container(engine, engine.home.find("new"))
    host = document["HostConfig"]
    assert host["MemorySwappiness"] is None and host["PidsLimit"] is None and host["OomKillDisable"] is None
    assert host["PortBindings"] == {} and host["Devices"] == [] and host["BlkioWeightDevice"] == []
    assert "Init" not in host and "Tmpfs" not in host and "Mounts" not in host
    assert document["Config"]["Entrypoint"] is None and document["Config"]["Labels"] == {}
    assert document["NetworkSettings"]["Ports"] == {}
    assert "Health" not in document["State"] and "SizeRw" not in document
    zero = add(engine, "e", "zero", STARTED, host_config=HostConfig(init=False, pids_limit=0, memory_swappiness=0))
    host = inspect_container(engine, zero)["HostConfig"]
    assert (host["Init"], host["PidsLimit"], host["MemorySwappiness"]) == (False, 0, 0)


def test_inspect_has_the_id_of_the_image_and_the_name_that_was_given(engine):
    document = inspect_container(engine, engine.home.find("new"))
    assert document["Image"] == IMAGE and document["Config"]["Image"] == "app:1"
    assert document["Name"] == "/new" and document["Created"] == "2026-01-02T03:04:06Z"


def test_inspect_shows_health_and_mounts(engine):
    state = State(
        running=True, started_at=STARTED, health=Health("unhealthy", 3, (HealthEntry(STARTED, STARTED, 1, "no"),))
    )
    mounts = (
        MountPoint("volume", "/v", name="shelf", source="/x/data", driver="local", mode="z", asked="bind"),
        MountPoint("bind", "/b", source="/srv", rw=False, propagation="rprivate", mode="ro", asked="bind"),
        MountPoint("tmpfs", "/t", asked="tmpfs"),
    )
    document = inspect_container(engine, add(engine, "e", "sick", STARTED, state, mounts=mounts))
    assert document["State"]["Health"] == {
        "Status": "unhealthy", "FailingStreak": 3,
        "Log": [{"Start": STARTED, "End": STARTED, "ExitCode": 1, "Output": "no"}],
    }  # fmt: skip
    assert [list(mount) for mount in document["Mounts"]] == [
        ["Type", "Source", "Destination", "Mode", "RW", "Propagation"],
        ["Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"],
    ]


def test_only_the_log_of_json_file_has_a_path(engine):
    for number, (driver, shown) in enumerate({"json-file": True, "": True, "local": False, "none": False}.items(), 1):
        made = add(engine, str(number), f"log{number}", STARTED, host_config=HostConfig(log_config=LogConfig(driver)))
        path = inspect_container(engine, made)["LogPath"]
        assert path == (f"{engine.home.directory(made.id)}/log/{made.id}-json.log" if shown else "")

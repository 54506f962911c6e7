"""Which containers a list has."""

import pytest

from firkin.containers.documents.config import Config, HostConfig, PortBinding
from firkin.containers.documents.filter import KEYS, read_filter
from firkin.containers.documents.record import Health, MountPoint, Record, State
from firkin.errors import ContainerError

ID = "ab" * 32
RECORD = Record(
    1, ID, "web-1", "2026-01-02T03:04:05Z", "sha256:" + "1" * 64,
    Config(image="app:1", labels={"tier": "front", "empty": ""}, exposed_ports={"80/tcp": {}, "53/udp": {}}),
    HostConfig(network_mode="none", port_bindings={"8080/tcp": (PortBinding("", "80"),)}),
    "sh", (), (), (MountPoint("volume", "/data", name="shelf"), MountPoint("bind", "/in", source="/srv/in")),
)  # fmt: skip
ENDED = State(started_at="2026-01-02T03:04:05Z", finished_at="2026-01-02T03:04:06Z", exit_code=3)
RUNNING = State(running=True, started_at="2026-01-02T03:04:05Z", health=Health("healthy"))


def fits(state, **values):
    asked = read_filter({name.replace("_", "-"): given for name, given in values.items()}, lambda text, record: text == "base")
    return asked.fits(RECORD, state)


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ({"name": ("web",)}, {"name": ("bew",)}),
        ({"name": ("^/web-1$",)}, {"name": ("^eb",)}),
        ({"name": ("^web-1$", "other")}, {"name": ("[",)}),
        ({"id": ("abab",)}, {"id": ("^b",)}),
        ({"label": ("tier",)}, {"label": ("none",)}),
        ({"label": ("tier=front", "empty=")}, {"label": ("tier=front", "empty=x")}),
        ({"status": ("exited", "running")}, {"status": ("running",)}),
        ({"exited": ("3", "1")}, {"exited": ("0",)}),
        ({"health": ("none",)}, {"health": ("healthy",)}),
        ({"ancestor": ("other", "base")}, {"ancestor": ("other",)}),
        ({"network": ("none",)}, {"network": ("host",)}),
        ({"volume": ("shelf",)}, {"volume": ("she",)}),
        ({"volume": ("/data",)}, {"volume": ("/srv",)}),
        ({"volume": ("/srv/in",)}, {"volume": ("x",)}),
        ({"publish": ("8080",)}, {"publish": ("80",)}),
        ({"expose": ("50-55/udp",)}, {"expose": ("53",)}),
        ({"is_task": ("false",)}, {"is_task": ("true",)}),
        ({}, {"isolation": ("hyperv",)}),
    ],
)
def test_each_key(yes, no):
    assert fits(ENDED, **yes)
    assert not fits(ENDED, **no)


def test_every_key_must_fit():
    assert fits(ENDED, name=("web",), exited=("3",))
    assert not fits(ENDED, name=("web",), exited=("4",))


def test_a_running_or_new_container_has_no_exit_code():
    assert not fits(RUNNING, exited=("0",))
    assert not fits(State(), exited=("0",))
    assert fits(RUNNING, health=("healthy",))


def test_a_status_asks_for_stopped_ones_too():
    assert read_filter({"status": ("exited",)}, lambda text, record: False).every
    assert not read_filter({"name": ("x",)}, lambda text, record: False).every


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("status", "run", "nvalid filter 'status=run'"),
        ("health", "well", "nvalid filter 'health=well'"),
        ("exited", "x", "nvalid filter 'exited=x'"),
        ("is-task", "x", "nvalid filter 'is-task=x'"),
        ("publish", "80:80", "filter for 'publish' should not contain ':': 80:80"),
        ("expose", "9-8", "nvalid filter 'expose=9-8'"),
        ("expose", "70000", "nvalid filter 'expose=70000'"),
    ],
)
def test_what_cannot_be_is_refused(key, value, words):
    assert key in KEYS
    with pytest.raises(ContainerError, match=words) as caught:
        read_filter({key: (value,)}, lambda text, record: False)
    assert caught.value.kind == "invalid"


def test_a_key_that_is_none_is_refused():
    with pytest.raises(ContainerError, match="nvalid filter 'bogus'") as caught:
        read_filter({"name": ("x",), "bogus": ()}, lambda text, record: False)
    assert caught.value.kind == "invalid"

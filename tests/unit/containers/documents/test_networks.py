"""The networks of a container, in the documents of inspect and lists."""

import pytest

from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.networks import endpoints, network_settings, published
from firkin.containers.documents.record import Record, State


def of(mode: str) -> Record:
    return Record(1, "a" * 64, "web", "", "", Config(), HostConfig(network_mode=mode), "sh", (), ())


@pytest.mark.parametrize(
    ("mode", "names"),
    [("none", ["none"]), ("host", ["host"]), ("default", ["bridge"]), ("container:" + "b" * 64, [])],
)
def test_a_container_is_in_the_network_of_its_mode(mode: str, names: list[str]) -> None:
    assert list(endpoints(of(mode))) == names
    assert network_settings(of(mode), State())["Networks"] == endpoints(of(mode))


def test_each_network_has_settings_of_its_own() -> None:
    first, second = endpoints(of("none"))["none"], endpoints(of("none"))["none"]
    first["IPAddress"] = "10.0.0.1"
    assert second["IPAddress"] == ""


def test_the_namespace_is_told_while_there_is_one() -> None:
    running = State(running=True, pid=4711)
    assert network_settings(of("none"), running)["SandboxKey"] == "/proc/4711/ns/net"
    assert network_settings(of("none"), State())["SandboxKey"] == ""


def test_nothing_is_published() -> None:
    assert network_settings(of("none"), State())["Ports"] == {}
    assert published(of("none"), State()) == {}

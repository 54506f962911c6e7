"""Texts of /etc in a container, and what is said of its network."""

import pytest

from firkin.containers.documents.config import Config, HostConfig, PortBinding
from firkin.containers.documents.etc import check_network, check_single_id, hosts_text, resolv_text
from firkin.errors import ContainerError

MACHINE = "# made by hand\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a.example b.example\noptions edns0\n"


def test_hosts_names_the_container_and_what_was_added() -> None:
    text = hosts_text(Config(hostname="box", domainname="example"), HostConfig(extra_hosts=("db:10.0.0.7", "me:host-gateway", "six:[::2]")), "")
    assert text.startswith("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    assert text.endswith("10.0.0.7\tdb\n127.0.0.1\tme\n::2\tsix\n127.0.0.1\tbox.example box\n")


def test_hosts_of_the_machine_only_without_own_names() -> None:
    assert hosts_text(Config(hostname="box"), HostConfig(network_mode="host"), "theirs\n") == "theirs\n"
    assert "theirs" not in hosts_text(Config(), HostConfig(network_mode="host", extra_hosts=("a:1.1.1.1",)), "theirs\n")


@pytest.mark.parametrize("text", ["", "name", ":1.1.1.1", "name:"])
def test_bad_entry_is_refused(text: str) -> None:
    with pytest.raises(ContainerError, match="bad format for add-host"):
        hosts_text(Config(), HostConfig(extra_hosts=(text,)), "")


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (HostConfig(), MACHINE),
        (HostConfig(dns=("1.1.1.1",)), "nameserver 1.1.1.1\nsearch a.example b.example\noptions edns0\n"),
        (HostConfig(dns_search=(".",)), "nameserver 127.0.0.53\nnameserver 9.9.9.9\noptions edns0\n"),
        (HostConfig(dns_search=("c",), dns_options=("ndots:2", "rotate")),
         "nameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch c\noptions ndots:2 rotate\n"),
    ],
)  # fmt: skip
def test_resolv_conf_replaces_only_what_is_named(host: HostConfig, text: str) -> None:
    assert resolv_text(host, MACHINE) == text


def test_networks() -> None:
    assert check_network(HostConfig(network_mode="none")) == ()
    assert check_network(HostConfig(network_mode="host")) == ()
    assert check_network(HostConfig(network_mode="container:abc")) == ()
    assert "machine's network" in check_network(HostConfig())[0]
    ports = {"80/tcp": (PortBinding("", "8080"),)}
    assert check_network(HostConfig(network_mode="none", port_bindings=ports, publish_all_ports=True)) == ()
    assert "discarded" in check_network(HostConfig(network_mode="host", port_bindings=ports))[0]
    for host in (HostConfig(network_mode="mine"), HostConfig(port_bindings=ports), HostConfig(publish_all_ports=True)):
        with pytest.raises(ContainerError) as caught:
            check_network(host)
        assert caught.value.hints and caught.value.kind == "invalid"


@pytest.mark.parametrize(("user", "told"), [("", 0), ("root", 0), ("0:5", 0), ("app", 1), ("1000:1000", 1)])
def test_single_id_is_said(user: str, told: int) -> None:
    assert len(check_single_id(Config(user=user), HostConfig())) == told


def test_groups_of_a_single_id_are_said() -> None:
    (told,) = check_single_id(Config(), HostConfig(group_add=("audio", "7")))
    assert told.endswith("in no further groups: audio, 7")

"""Texts of /etc/hosts, /etc/hostname and /etc/resolv.conf of a container, and what `create` warns about. Pure.

`create` writes them into the container's directory, from where they are mounted. A later start does not write them
again, as the container may have changed them. Mirrors: moby daemon/libnetwork etchosts.Build, internal/resolvconf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firkin.errors import ContainerError
from firkin.hints import Hint

if TYPE_CHECKING:
    from firkin.containers.documents.config import Config, HostConfig

_LOOPBACK = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
_NETWORK = Hint.of("container-network")
_HOSTS_NETWORK = ("host", "default", "bridge", "")


def hosts_text(config: Config, host: HostConfig, of_machine: str) -> str:
    """Return /etc/hosts: with the machine's network and no names of its own, it is the machine's (`of_machine`).

    Raises ContainerError for an entry that is none.
    """
    added = [extra_host(text) for text in host.extra_hosts or ()]
    if host.network_mode == "host" and not added:
        return of_machine
    names = f"{config.hostname}.{config.domainname} {config.hostname}" if config.domainname else config.hostname
    own = f"127.0.0.1\t{names}\n" if names else ""
    return _LOOPBACK + "".join(f"{address}\t{name}\n" for name, address in added) + own


def extra_host(text: str) -> tuple[str, str]:
    """Return name and address of an entry `name:address`; `host-gateway` is the machine. Raises ContainerError."""
    name, found, address = text.partition(":")
    if not (name and found and address):
        raise ContainerError(f'bad format for add-host: "{text}"', kind="invalid", code="container-hosts")
    return name, "127.0.0.1" if address == "host-gateway" else address.strip("[]")


def resolv_text(host: HostConfig, of_machine: str) -> str:
    """Return /etc/resolv.conf: the machine's, but for what the container has of its own.

    Names are asked of the machine's servers over its network, so those on its loopback can be reached too.
    """
    if not (host.dns or host.dns_search or host.dns_options):
        return of_machine
    kept = _settings(of_machine)
    servers = list(host.dns) or kept["nameserver"]
    search = [name for name in host.dns_search if name != "."] if host.dns_search else kept["search"]
    options = list(host.dns_options) or kept["options"]
    lines = [f"nameserver {server}\n" for server in servers]
    lines += [f"{key} {' '.join(words)}\n" for key, words in (("search", search), ("options", options)) if words]
    return "".join(lines)


def _settings(resolv_conf: str) -> dict[str, list[str]]:
    """Return the words of the settings of resolv.conf(5) that containers may replace."""
    kept: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in resolv_conf.splitlines():
        key, _, rest = line.strip().partition(" ")
        key = "search" if key == "domain" else key
        if key == "nameserver":
            kept[key] += rest.split()[:1]
        elif key in kept:
            kept[key] = rest.split()
    return kept


def check_network(host: HostConfig) -> tuple[str, ...]:
    """Return what a user should know of a container's network. Raises ContainerError for one that cannot be had."""
    mode = host.network_mode
    if mode not in ("none", *_HOSTS_NETWORK) and not mode.startswith("container:"):
        raise ContainerError(f"network {mode} not found", kind="invalid", code="container-network", hints=(_NETWORK,))
    published = bool(host.port_bindings or host.publish_all_ports)
    if published and mode == "host":
        return ("Published ports are discarded when using host network mode",)
    if published and mode != "none":  # there, docker does nothing about them
        raise ContainerError(
            "ports cannot be published: there are no networks with addresses of their own yet",
            kind="invalid",
            code="container-ports",
            hints=(_NETWORK,),
        )
    if mode in _HOSTS_NETWORK and mode != "host":
        return ("The container uses the machine's network: there are no networks with addresses of their own yet",)
    return ()


def check_single_id(config: Config, host: HostConfig) -> tuple[str, ...]:
    """Return what a user without subordinate ids should know of a container."""
    user = config.user.partition(":")[0]
    warnings = []
    if user not in ("", "0", "root"):
        warnings.append(f"This account has no subordinate ids, so the container runs as root and not as {user}")
    if host.group_add:
        names = ", ".join(host.group_add)
        warnings.append(f"This account has no subordinate ids, so the container is in no further groups: {names}")
    return tuple(warnings)

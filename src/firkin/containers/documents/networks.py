"""The networks of a container, as inspect and lists show them. Pure.

There are three modes: `none`, `host`, and `container:ID`, which has no networks of its own.
Mirrors: moby api/types/container NetworkSettings, api/types/network EndpointSettings, as Engine 28 has them.
"""

from __future__ import annotations

from typing import Any

from firkin.containers.documents.record import Record, State

Endpoints = dict[str, dict[str, Any]]


def endpoints(record: Record) -> Endpoints:
    """Return the networks of a container by name, each with its endpoint's settings."""
    mode = record.host_config.network_mode
    if mode.startswith("container:"):
        return {}
    return {"bridge" if mode == "default" else mode: _endpoint()}


def network_settings(record: Record, state: State) -> dict[str, Any]:
    """Return `NetworkSettings` of inspect. Its `Ports` are a map always, an empty one without published ports."""
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{state.pid}/ns/net" if state.pid else "",
        "Ports": {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": "",
        "Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "MacAddress": "",
        "Networks": endpoints(record),
    }


def _endpoint() -> dict[str, Any]:
    return {
        "IPAMConfig": None,
        "Links": None,
        "Aliases": None,
        "MacAddress": "",
        "DriverOpts": None,
        "GwPriority": 0,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }


def published(record: Record, state: State) -> dict[str, tuple[str, ...]]:
    """Return the places (`0.0.0.0:8080`) at which ports (`80/tcp`) of a container are published."""
    ports = network_settings(record, state)["Ports"]
    return {
        port: tuple(f"{_bracketed(place['HostIp'])}:{place['HostPort']}" for place in places or ())
        for port, places in ports.items()
    }


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address

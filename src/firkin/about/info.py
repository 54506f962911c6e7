"""Facts about this machine and its store, as docker's API has them. Does I/O.

Mirrors: moby api/types/system.Info, docker/cli cli/command/system/info.go. What has no meaning without a daemon is
there with its zero value, since templates name it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from firkin.about.as_docker import ENGINE_VERSION
from firkin.about.containers import (
    cgroup_facts,
    count_containers,
    limit_fields,
    limit_warnings,
    security_options,
)
from firkin.about.version import client_facts
from firkin.ambient import Ambient
from firkin.containers.documents.log_options import DEFAULT_DRIVER
from firkin.registry.keychain import HUB_KEY
from firkin.settings import Settings
from firkin.store.names import count_in
from firkin.text import hide_passwords

_KIB = 1024
_FILE_SYSTEMS = "/proc/self/mountinfo"
NOT_PROBED = "unknown"


def info_document(
    settings: Settings, ambient: Ambient, machine: Callable[[], Mapping[str, Any]] | None, *, debug: bool = False
) -> dict[str, Any]:
    """Return what `docker info` knows. Neither makes nor waits for a store, unless `machine` does.

    `machine` gives firkin's own facts (about/machine.py), which go under `Firkin`, and from which `Driver` and
    `Warnings` come; without it these are not known, but the document costs next to nothing.
    """
    facts = machine() if machine is not None else {}
    system, registry = os.uname(), settings.registry
    groups = cgroup_facts(ambient)
    client = client_facts()
    return {
        "ID": "",
        **count_containers(settings.root, ambient),
        "Images": count_in(settings.root),
        "Driver": str(facts.get("isolation", NOT_PROBED)).partition(" ")[0].removesuffix(":"),
        "DriverStatus": [["Backing Filesystem", _file_system(settings.root)]],
        "Plugins": {"Volume": ["local"], "Network": ["host", "null"], "Authorization": None,
                    "Log": ["json-file", "local", "none"]},
        **limit_fields(groups),
        "Debug": debug,
        "NFd": 0,
        "NGoroutines": 0,
        "NEventsListener": 0,
        "SystemTime": "",
        "LoggingDriver": DEFAULT_DRIVER if settings.containers is None else settings.containers.log.type,
        "KernelVersion": system.release,
        **_operating_system(),
        "OSType": "linux",
        "Architecture": system.machine,
        "IndexServerAddress": HUB_KEY,
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"],
            "IndexConfigs": {host: {"Name": host, "Mirrors": [], "Secure": False} for host in registry.insecure},
            "Mirrors": [_without_password(mirror.location) for mirror in registry.mirrors],
        },
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": _memory(),
        "GenericResources": None,
        "DockerRootDir": settings.root,
        "HttpProxy": _without_password(registry.http_proxy),
        "HttpsProxy": _without_password(registry.https_proxy),
        "NoProxy": registry.no_proxy,
        "Name": system.nodename,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": ENGINE_VERSION,
        "Runtimes": {"runc": {"path": "firkin"}},
        "DefaultRuntime": "runc",
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "",
                  "RemoteManagers": None},
        "LiveRestoreEnabled": False,
        "Isolation": "",
        "InitBinary": "",
        **{name: {"ID": ""} for name in ("ContainerdCommit", "RuncCommit", "InitCommit")},
        "SecurityOptions": security_options(ambient.uid),
        "CDISpecDirs": None,
        "Warnings": [*_warnings(facts, ambient), *limit_warnings(groups)],
        "ClientInfo": {"Debug": debug, **client, "Plugins": [], "Warnings": None},
        "Firkin": dict(facts),
    }  # fmt: skip


_HIDDEN = "xxxxx:xxxxx@"


def _without_password(address: str) -> str:
    """Return an address with docker's `xxxxx:xxxxx` in place of user and password; it may lack its scheme."""
    if "://" not in address:
        return hide_passwords(f"http://{address}", _HIDDEN).removeprefix("http://")
    return hide_passwords(address, _HIDDEN)


def _warnings(facts: Mapping[str, Any], ambient: Ambient) -> list[str]:
    found = []
    if str(facts.get("isolation", "")).startswith("none"):
        found.append(f"no way to run commands on this machine: {str(facts['isolation']).partition(': ')[2]}")
    host = ambient.environ.get("DOCKER_HOST", "")
    if host:
        found.append("DOCKER_HOST is set, and not read: firkin has no daemon")
    return found


def _operating_system() -> dict[str, str]:
    """Return name and version of the distribution. Spec: os-release(5)."""
    fields: dict[str, str] = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            pairs = (line.strip().partition("=") for line in file)
            fields = {name: value.strip("\"'") for name, _, value in pairs}
            break
    return {"OperatingSystem": fields.get("PRETTY_NAME", "Linux"), "OSVersion": fields.get("VERSION_ID", "")}


def _memory() -> int:
    """Return the bytes of memory. Spec: proc(5), meminfo."""
    with suppress(OSError, ValueError), open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(b"MemTotal:"):
                return int(line.split()[1]) * _KIB
    return 0


def _file_system(root: str) -> str:
    """Return the kind of file system that holds the store, or would hold it. Spec: proc(5), mountinfo."""
    place, best = os.path.realpath(root), ("", "unknown")
    with suppress(OSError), open(_FILE_SYSTEMS, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            point = before.split()[4].replace("\\040", " ")
            inside = place == point or place.startswith(f"{point.rstrip('/')}/")
            if inside and len(point) >= len(best[0]):
                best = (point, after.split()[0])
    return best[1]

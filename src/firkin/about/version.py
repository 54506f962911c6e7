"""The versions, as docker's API has them. Does I/O.

Mirrors: docker/cli cli/command/system/version.go, moby api/types/system.VersionResponse.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from firkin import __version__
from firkin.about.as_docker import API_VERSION, ENGINE_VERSION, MIN_API_VERSION
from firkin.linux.machine import this_platform


def version_document() -> dict[str, Any]:
    """Return `{"Client": …, "Server": …}`: client and server are this one program, which follows a docker's version.

    `GoVersion` and `BuildTime` are empty: there is no Go in it, and it is not compiled. Beyond docker's, both have
    `FirkinVersion` and `PythonVersion`.
    """
    client = client_facts()
    server = {
        "Platform": client["Platform"],
        "Components": [{"Name": "Engine", "Version": ENGINE_VERSION, "Details": _details(client)}],
        "Version": ENGINE_VERSION,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "KernelVersion": os.uname().release,
        **{name: client[name] for name in _BOTH},
    }
    return {"Client": client, "Server": server}


_BOTH = ("GitCommit", "GoVersion", "Os", "Arch", "BuildTime", "FirkinVersion", "PythonVersion")


def client_facts() -> dict[str, Any]:
    """Return the client's part."""
    platform = this_platform()
    return {
        "Platform": {"Name": f"firkin {__version__}"},
        "Version": ENGINE_VERSION,
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "GitCommit": f"firkin-{__version__}",
        "GoVersion": "",
        "Os": platform.os,
        "Arch": platform.architecture,
        "BuildTime": "",
        "Context": "default",
        "FirkinVersion": __version__,
        "PythonVersion": sys.version.split()[0],
    }


def _details(client: Mapping[str, Any]) -> dict[str, str]:
    return {
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": client["Os"],
        "Arch": client["Arch"],
        "KernelVersion": os.uname().release,
        "Experimental": "false",
        "GitCommit": client["GitCommit"],
        "GoVersion": "",
        "BuildTime": "",
    }

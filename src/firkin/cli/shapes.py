"""What a template of `inspect` finds where a document has nothing: as the empty fields of Go's structs. Pure.

`cli` only. Mirrors: moby api/types image.InspectResponse, container.InspectResponse. `.ID` is `.Id`.
"""

from __future__ import annotations

from typing import Any

from firkin.templates.values import NO_LIST, NO_MAP, NO_POINTER

_CONFIG: dict[str, Any] = {
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False,
    "AttachStderr": False, "ExposedPorts": NO_MAP, "Tty": False, "OpenStdin": False, "StdinOnce": False,
    "Env": NO_LIST, "Cmd": NO_LIST, "Healthcheck": NO_POINTER, "ArgsEscaped": False, "Image": "",
    "Volumes": NO_MAP, "WorkingDir": "", "Entrypoint": NO_LIST, "NetworkDisabled": False, "MacAddress": "",
    "OnBuild": NO_LIST, "Labels": NO_MAP, "StopSignal": "", "StopTimeout": NO_POINTER, "Shell": NO_LIST,
}  # fmt: skip
IMAGE: dict[str, Any] = {
    "Id": "", "RepoTags": NO_LIST, "RepoDigests": NO_LIST, "Parent": "", "Comment": "", "Created": "",
    "DockerVersion": "", "Author": "", "Architecture": "", "Variant": "", "Os": "", "OsVersion": "", "Size": 0,
    "Config": _CONFIG,
    "GraphDriver": {"Data": NO_MAP, "Name": ""},
    "RootFS": {"Type": "", "Layers": NO_LIST},
    "Metadata": {"LastTagTime": ""},
    "Descriptor": NO_POINTER,
    "Manifests": NO_LIST,
}  # fmt: skip
CONTAINER: dict[str, Any] = {
    "State": {"Health": NO_POINTER},
    "ExecIDs": NO_LIST,
    "SizeRw": NO_POINTER,
    "SizeRootFs": NO_POINTER,
    "HostConfig": {
        "Binds": NO_LIST, "VolumesFrom": NO_LIST, "Annotations": NO_MAP, "CapAdd": NO_LIST, "CapDrop": NO_LIST,
        "ExtraHosts": NO_LIST, "GroupAdd": NO_LIST, "Links": NO_LIST, "SecurityOpt": NO_LIST, "StorageOpt": NO_MAP,
        "Tmpfs": NO_MAP, "Sysctls": NO_MAP, "Runtime": "", "DeviceCgroupRules": NO_LIST, "DeviceRequests": NO_LIST,
        "MemorySwappiness": NO_POINTER, "OomKillDisable": NO_POINTER, "PidsLimit": NO_POINTER, "Mounts": NO_LIST,
        "MaskedPaths": NO_LIST, "ReadonlyPaths": NO_LIST, "Init": NO_POINTER,
    },
    "Config": _CONFIG,
    "NetworkSettings": {"SecondaryIPAddresses": NO_LIST, "SecondaryIPv6Addresses": NO_LIST},
}  # fmt: skip

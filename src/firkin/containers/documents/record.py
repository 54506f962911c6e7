"""What is kept of a container: the record that `create` writes, and the state that its monitor writes. Pure.

docs/dev/container-state.md describes both files and their versions. Annotations are no texts here and in `config`, as
msgspec would have to evaluate each in every command that reads a container.
"""

import msgspec

from firkin.containers.documents.config import Config, HostConfig

RECORD_VERSION = 1
ZERO_TIME = "0001-01-01T00:00:00Z"


class MountPoint(msgspec.Struct, frozen=True, rename="pascal"):
    """One mount of a container, as inspect's `Mounts` has it, with what is needed to make it.

    `source` is a path of this machine ("" for tmpfs). `anonymous`: the container made the volume itself and takes it
    along (`rm -v`). `options` are those of a tmpfs; `subpath` is looked up beneath `source`; `trees` are layers of an
    image mount, top down.
    """

    type: str
    destination: str
    name: str = ""
    source: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = msgspec.field(default=True, name="RW")
    propagation: str = ""
    anonymous: bool = False
    recursive: bool = True
    readonly_recursive: bool = True
    subpath: str = ""
    options: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    create_source: bool = False
    asked: str = ""  # "bind", "mount", "tmpfs", "volumes-from" or "image": which option it came from


class Record(msgspec.Struct, frozen=True):
    """`config.json` of a container. `config` and `host_config` are merged and filled in; times are RFC 3339, UTC.

    `image` is the digest of the image's configuration, `trees` are the ids of its layers in the store, top down.
    `limits` as in CreateRequest; `dropped` are options that cannot be had here and were warned about.
    """

    version: int
    id: str
    name: str
    created: str
    image: str
    config: Config
    host_config: HostConfig
    path: str
    args: tuple[str, ...]
    trees: tuple[str, ...]
    mounts: tuple[MountPoint, ...] = ()
    platform: str = "linux"
    architecture: str = ""
    limits: str = "refuse"
    dropped: tuple[str, ...] = ()


class HealthEntry(msgspec.Struct, frozen=True, rename="pascal"):
    """One probe."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True, rename="pascal"):
    """`status` is "starting", "healthy" or "unhealthy"."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[HealthEntry, ...] = ()


class State(msgspec.Struct, frozen=True):
    """`state.json` of a container. Times are RFC 3339, UTC; `pid` is that of the container's first process here.

    `boot` is the boot id of the kernel that the pids belong to, `monitor` the monitor's pid, `started_ticks` the start
    time of `pid` in clock ticks since boot (proc(5), stat, field 22). `by_hand`: somebody stopped or killed it.
    `retries` counts restarts of the policy since the last `start`; `restart_count` is what inspect shows.
    """

    version: int = RECORD_VERSION
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = False
    removing: bool = False
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    restart_count: int = 0
    retries: int = 0
    by_hand: bool = False
    health: Health | None = None
    boot: str = ""
    monitor: int = 0
    started_ticks: int = 0

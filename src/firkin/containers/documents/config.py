"""What a container is made of, as documents of the Docker Engine API: `Config`, `HostConfig` and their parts. Pure.

Spec: Engine API 1.51, ContainerConfig and HostConfig. Encoded they have the API's names and its zero values, since
clients compare what they asked for with what inspect shows. None is JSON's null; it differs from zero where the API
says so (`entrypoint`, `pids_limit`, `init`, `masked_paths`).
"""

import msgspec

MEBIBYTE = 1 << 20
DEFAULT_SHM_BYTES = 64 * MEBIBYTE


class Document(msgspec.Struct, frozen=True, rename="pascal"):
    """The base of documents with the API's names (`OpenStdin` for `open_stdin`)."""


class HealthConfig(Document, frozen=True, omit_defaults=True):
    """`Test` is ("CMD", …), ("CMD-SHELL", text), ("NONE",), or () to inherit. Durations are nanoseconds, 0 inherits.

    `on_failure` is podman's: "kill", "restart" or "stop" a container that becomes unhealthy, "" for nothing.
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0
    on_failure: str = ""


class Config(Document, frozen=True):
    """What the process is: after merging, the request and the image together (containers/documents/merge.py)."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, str]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] | None = None  # "NAME=value"; "NAME" alone removes it
    cmd: tuple[str, ...] | None = None
    healthcheck: HealthConfig | None = None
    image: str = ""  # as it was asked for
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None  # seconds; -1 waits for ever
    shell: tuple[str, ...] | None = None


class RestartPolicy(Document, frozen=True):
    """`name` is "no", "always", "unless-stopped" or "on-failure"; the count is for on-failure, 0 is unlimited."""

    name: str = "no"
    maximum_retry_count: int = 0


class LogConfig(Document, frozen=True):
    """`type` is "json-file", "local" or "none" (containers/documents/log_options.py)."""

    type: str = ""
    config: dict[str, str] = {}


class Ulimit(Document, frozen=True):
    """-1 is unlimited."""

    name: str
    soft: int
    hard: int


class Device(Document, frozen=True):
    """A device of the machine; permissions are some of "rwm"."""

    path_on_host: str
    path_in_container: str
    cgroup_permissions: str = "rwm"


class WeightDevice(Document, frozen=True):
    """The share of one block device."""

    path: str
    weight: int


class ThrottleDevice(Document, frozen=True):
    """The rate of one block device: bytes or operations in a second."""

    path: str
    rate: int


_Rates = tuple[ThrottleDevice, ...] | None


class DeviceRequest(Document, frozen=True):
    """What `--gpus` asks for."""

    driver: str = ""
    count: int = 0
    device_ids: tuple[str, ...] | None = msgspec.field(default=None, name="DeviceIDs")
    capabilities: tuple[tuple[str, ...], ...] | None = None
    options: dict[str, str] | None = None


class PortBinding(Document, frozen=True):
    """Where a port of the container is published."""

    host_ip: str = ""
    host_port: str = ""


class BindOptions(Document, frozen=True, omit_defaults=True):
    """Options of a mount of type bind."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(Document, frozen=True, omit_defaults=True):
    """The driver of a volume that a mount makes."""

    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(Document, frozen=True, omit_defaults=True):
    """Options of a mount of type volume."""

    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str = ""


class TmpfsOptions(Document, frozen=True, omit_defaults=True):
    """Options of a mount of type tmpfs; `mode` is a number of permission bits."""

    size_bytes: int = 0
    mode: int = 0
    options: tuple[tuple[str, ...], ...] | None = None


class ImageOptions(Document, frozen=True, omit_defaults=True):
    """Options of a mount of type image."""

    subpath: str = ""


class Mount(Document, frozen=True, omit_defaults=True):
    """One `--mount`."""

    type: str
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    image_options: ImageOptions | None = None


class HostConfig(Document, frozen=True):
    """How the machine runs it. The order is docker's, as inspect prints it."""

    binds: tuple[str, ...] | None = None
    container_id_file: str = msgspec.field(default="", name="ContainerIDFile")
    log_config: LogConfig = LogConfig()
    network_mode: str = "default"
    port_bindings: dict[str, tuple[PortBinding, ...] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: tuple[str, ...] | None = None
    console_size: tuple[int, int] = (0, 0)  # rows, columns
    annotations: dict[str, str] | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
    cgroupns_mode: str = ""
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] | None = None
    group_add: tuple[str, ...] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: tuple[str, ...] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: tuple[str, ...] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = msgspec.field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0  # bytes, 0 for the default
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0  # bytes
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[WeightDevice, ...] | None = None
    blkio_device_read_bps: _Rates = None
    blkio_device_write_bps: _Rates = None
    blkio_device_read_iops: _Rates = msgspec.field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: _Rates = msgspec.field(default=None, name="BlkioDeviceWriteIOps")
    cpu_period: int = 0  # microseconds
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[Device, ...] | None = None
    device_cgroup_rules: tuple[str, ...] | None = None
    device_requests: tuple[DeviceRequest, ...] | None = None
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = msgspec.field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = msgspec.field(default=0, name="IOMaximumBandwidth")
    mounts: tuple[Mount, ...] | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    init: bool | None = None


class CreateRequest(msgspec.Struct, frozen=True):
    """What `create` is asked for. `name` "" makes one up; `platform` "" is this machine's.

    `limits` says what becomes of a limit that cannot be set here: "refuse" (the command line), or "warn" (the API).
    """

    config: Config
    host_config: HostConfig = HostConfig()
    name: str = ""
    platform: str = ""
    limits: str = "refuse"

"""Whether a request makes sense, before anything is made for it. Pure.

The messages contain moby's words. Mounts are checked where they become mount points, limits that this machine cannot
set in containers/limits, log options in log_options. Mirrors: moby verifyContainerSettings, runconfig validate,
verifyPlatformContainerSettings.
"""

from __future__ import annotations

from typing import NoReturn

from firkin.containers.documents.config import MEBIBYTE, Config, CreateRequest, HealthConfig, HostConfig
from firkin.containers.documents.log_options import check_log_config
from firkin.containers.documents.signals import parse_signal
from firkin.errors import ContainerError
from firkin.hints import Hint

_CAPABILITIES = frozenset(
    "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH "
    "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN "
    "NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT "
    "SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM".split()
)
RUNTIMES = ("", "runc", "io.containerd.runc.v2", "firkin")
"""Names of the one runtime there is: docker's names for its default, and firkin itself."""
RESTART_NAMES = ("", "no", "always", "unless-stopped", "on-failure")
SHORTEST_NS = 1_000_000  # of a health check's durations
_LEAST_MEMORY = 6 * MEBIBYTE
_LONGEST_HOSTNAME = 63


def check_request(request: CreateRequest) -> None:
    """Raise ContainerError (`invalid`) for a request that no machine could fulfil."""
    config, host = request.config, request.host_config
    _check_config(config)
    if config.healthcheck is not None:
        check_healthcheck(config.healthcheck)
    _check_restart(host)
    check_resources(host)
    _check_modes(host)
    _check_network(config, host)
    _check_rights(host)
    _check_rest(host)
    if request.limits not in ("refuse", "warn"):
        _refuse(f"limits are refused or warned about: `{request.limits}` is neither")


def check_merged(config: Config, host: HostConfig) -> None:
    """Raise ContainerError (`invalid`) for what the request cannot have with what the image or the defaults add."""
    check_log_config(host.log_config)
    _check_words(config)
    if config.healthcheck is not None:
        check_healthcheck(config.healthcheck)


def _refuse(message: str, *hints: Hint) -> NoReturn:
    raise ContainerError(message, kind="invalid", code="request", hints=hints)


def _check_config(config: Config) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        _refuse(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    for entry in config.env or ():
        if not entry or entry.startswith("="):
            _refuse(f"invalid environment variable: {entry}")
    if config.stop_signal:
        parse_signal(config.stop_signal)
    if len(config.hostname.encode("utf-8", "surrogateescape")) > _LONGEST_HOSTNAME:
        _refuse(f"invalid hostname: `{config.hostname}` is longer than {_LONGEST_HOSTNAME} bytes")
    _check_words(config)


def _check_words(config: Config) -> None:
    words = (*(config.entrypoint or ()), *(config.cmd or ()), *(config.env or ()), config.working_dir, config.user)
    if any("\0" in word for word in words):
        _refuse("a word of the command or its environment contains a zero byte")


def check_healthcheck(check: HealthConfig) -> None:
    """Raise ContainerError (`invalid`) for durations or a number of retries that make no sense."""
    for what, duration in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if duration != 0 and duration < SHORTEST_NS:
            _refuse(f"{what} in Healthcheck cannot be less than one millisecond")
    if check.retries < 0:
        _refuse("Retries in Healthcheck cannot be negative")
    if check.on_failure not in ("", "none", "kill", "restart", "stop"):
        _refuse(f"an unhealthy container cannot be told to `{check.on_failure}`")
    if len(check.test) == 1 and check.test[0] != "NONE":
        _refuse(f"the health check `{check.test[0]}` has no command")


def _check_restart(host: HostConfig) -> None:
    check_restart_policy(host.restart_policy.name, host.restart_policy.maximum_retry_count)
    if host.auto_remove and host.restart_policy.name not in ("", "no"):
        _refuse("can't create 'AutoRemove' container with restart policy")


def check_restart_policy(name: str, most: int) -> None:
    """Raise ContainerError (`invalid`) unless there is such a policy and it may have this number of retries."""
    if name not in RESTART_NAMES:
        _refuse(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if most < 0:
        _refuse("invalid restart policy: maximum retry count cannot be negative")
    if most and name != "on-failure":
        _refuse("invalid restart policy: maximum retry count can only be used with 'on-failure'")


def check_resources(host: HostConfig) -> None:
    """Raise ContainerError (`invalid`) for limits that contradict one another or that no kernel takes.

    `update` calls it with the host's part as it would become.
    """
    _check_memory(host)
    _check_cpu(host)
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        _refuse("range of blkio weight is from 10 to 1000")
    for device in host.blkio_weight_device or ():
        if device.weight and not 10 <= device.weight <= 1000:
            _refuse("range of blkio weight is from 10 to 1000")
    for limit in host.ulimits or ():
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            _refuse(f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}")


def _check_memory(host: HostConfig) -> None:
    memory, swap, reserved = host.memory, host.memory_swap, host.memory_reservation
    if memory < 0 or 0 < memory < _LEAST_MEMORY:
        _refuse("Minimum memory limit allowed is 6MB")
    if memory and 0 < swap < memory:
        _refuse("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        _refuse("You should always set the Memory limit when using Memoryswap limit, see usage")
    if reserved < 0 or 0 < reserved < _LEAST_MEMORY:
        _refuse("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reserved:
        _refuse("Minimum memory limit can not be less than memory reservation limit, see usage")
    swappiness = host.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        _refuse(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")


def _check_cpu(host: HostConfig) -> None:
    if host.nano_cpus < 0:
        _refuse("the number of CPUs cannot be negative")
    for what, value in (("Period", host.cpu_period), ("Quota", host.cpu_quota)):
        if host.nano_cpus and value:
            _refuse(f"Conflicting options: Nano CPUs and CPU {what} cannot both be set")
    if host.cpu_shares < 0:
        _refuse(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        _refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1000:
        _refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    _check_cpusets(host)


def _check_cpusets(host: HostConfig) -> None:
    for what, text in (("cpus", host.cpuset_cpus), ("mems", host.cpuset_mems)):
        if text and not is_cpu_list(text):
            _refuse(f"Invalid value {text} for cpuset {what}")


def is_cpu_list(text: str) -> bool:
    """Say whether a text is a list of numbers and ranges: `0-3,7`. Mirrors: moby parsers.ParseUintList."""
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first,)
        if not all(number.isascii() and number.isdigit() and len(number) < 6 for number in numbers):
            return False
        if dash and int(first) > int(last):
            return False
    return True


_MODES = {
    "ipc_mode": ("IPC mode", ("", "private", "shareable", "none", "host"), True),
    "pid_mode": ("PID mode", ("", "private", "host"), True),
    "uts_mode": ("UTS mode", ("", "private", "host"), False),
    "userns_mode": ("user namespace mode", ("", "private", "host"), False),
    "cgroupns_mode": ("cgroup namespace mode", ("", "private", "host"), False),
    "isolation": ("isolation", ("", "default", "auto", "namespaces", "chroot", "inplace"), False),
}  # fmt: skip


def _check_modes(host: HostConfig) -> None:
    for field, (what, known, joins) in _MODES.items():
        text: str = getattr(host, field)
        other = joins and text.startswith("container:") and len(text) > len("container:")
        if text not in known and not other:
            _refuse(f"invalid {what}: {text}")
    if host.network_mode == "container:":
        _refuse("invalid container format container:<name|id>")


def _check_network(config: Config, host: HostConfig) -> None:
    mode = host.network_mode
    if config.hostname and host.uts_mode == "host":
        _refuse("conflicting options: hostname and the UTS mode")
    if mode == "host" and host.links:
        _refuse(
            "conflicting options: host type networking can't be used with links. This would result in undefined "
            "behavior"
        )
    if not mode.startswith("container:"):
        return
    for given, what in (
        (config.hostname, "hostname and the network mode"),
        (host.links, "container type network can't be used with links. This would result in undefined behavior"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (config.mac_address, "mac-address and the network mode"),
        (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
        (config.exposed_ports, "port exposing and the container type network mode"),
    ):
        if given:
            _refuse(f"conflicting options: {what}")


def capability(text: str) -> str:
    """Return a capability as `CAP_CHOWN`, or `ALL`, from any of its spellings. Raises ContainerError (invalid)."""
    name = text.upper().removeprefix("CAP_")
    if name == "ALL":
        return name
    if name not in _CAPABILITIES:
        _refuse(f'unknown capability: "CAP_{name}"')
    return f"CAP_{name}"


def _check_rights(host: HostConfig) -> None:
    for what, names in (("CapAdd", host.cap_add), ("CapDrop", host.cap_drop)):
        for name in names or ():
            try:
                capability(name)
            except ContainerError as error:
                _refuse(f"invalid {what}: {error.message}")
    for text in host.security_opt or ():
        key, value = security_option(text)
        if key not in ("no-new-privileges", "seccomp", "apparmor", "label", "systempaths", "writable-cgroups"):
            _refuse(f'invalid security option: "{text}"')
        if key == "no-new-privileges" and value.lower() not in ("", "true", "false", "1", "0", "t", "f"):
            _refuse(f'invalid security option: "{text}"')
        if key == "systempaths" and value != "unconfined":
            _refuse(f'invalid security option: "{text}"')


def security_option(text: str) -> tuple[str, str]:
    """Split a security option at `=`, or at the older `:`."""
    key, equals, value = text.partition("=")
    if not equals and text != "no-new-privileges":
        key, _, value = text.partition(":")
    return key, value


def _check_rest(host: HostConfig) -> None:
    if host.shm_size < 0:
        _refuse("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        _refuse(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.runtime not in RUNTIMES:
        _refuse(f"unknown or invalid runtime name: {host.runtime}")
    if host.volume_driver not in ("", "local"):
        _refuse(f'error looking up volume plugin {host.volume_driver}: plugin "{host.volume_driver}" not found')
    if host.storage_opt:
        _refuse(
            "storage options are for a layer with a quota of its own, which the store cannot give",
            Hint.of("container-quota"),
        )
    _check_sysctls(host)
    if host.device_requests:
        request = host.device_requests[0]
        wanted = " ".join(f"[{' '.join(words)}]" for words in request.capabilities or ())
        message = f'could not select device driver "{request.driver}" with capabilities: [{wanted}]'
        _refuse(message, Hint.of("container-gpus"))


def _check_sysctls(host: HostConfig) -> None:
    for name in host.sysctls or {}:
        if name.startswith("net.") and host.network_mode == "host":
            _refuse(f"sysctl `{name}` not allowed in host network namespace")

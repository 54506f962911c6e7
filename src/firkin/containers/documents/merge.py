"""What a container is: the request and the image's configuration together, with defaults filled in. Pure.

Rules: docs/dev/container-state.md, "Merging". Mirrors: moby daemon merge, mergeAndVerifyConfig and
adaptContainerSettings.
"""

from __future__ import annotations

import msgspec

from firkin.containers.documents.config import (
    DEFAULT_SHM_BYTES,
    Config,
    CreateRequest,
    HealthConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
)
from firkin.containers.documents.profile import MASKED_PATHS, READONLY_PATHS
from firkin.errors import ContainerError
from firkin.oci.config import Healthcheck, RuntimeConfig


class Defaults(msgspec.Struct, frozen=True):
    """What a container has of which its request says nothing; `init` is whether it gets a reaper."""

    log: LogConfig = LogConfig("json-file")
    init: bool = False


_DEFAULTS = Defaults()


def merge(
    request: CreateRequest, image: RuntimeConfig, defaults: Defaults = _DEFAULTS
) -> tuple[Config, HostConfig]:
    """Return what the container's process is, and how it runs. Raises ContainerError: `no command specified`."""
    asked = request.config
    entrypoint, cmd = _command(asked, image)
    config = msgspec.structs.replace(
        asked,
        user=asked.user or image.user,
        working_dir=asked.working_dir or image.working_dir,
        stop_signal=asked.stop_signal or image.stop_signal,
        env=_environment(asked.env or (), image.env),
        labels={**dict(image.labels), **(asked.labels or {})},
        exposed_ports=_union(image.exposed_ports, asked.exposed_ports),
        volumes=_union(image.volumes, asked.volumes),
        healthcheck=_healthcheck(asked.healthcheck, image.healthcheck),
        entrypoint=entrypoint,
        cmd=cmd,
    )
    return config, fill_host_config(request.host_config, defaults)


def path_and_args(config: Config) -> tuple[str, tuple[str, ...]]:
    """Return the first word of a merged configuration's command, and the others, as inspect shows them."""
    words = (*(config.entrypoint or ()), *(config.cmd or ()))
    return words[0], words[1:]


def fill_host_config(asked: HostConfig, defaults: Defaults = _DEFAULTS) -> HostConfig:
    """Return the host's part with defaults in place of what says nothing, for inspect and for the plan.

    `runc` is the name that clients know of a machine's only runtime; here it is firkin itself.
    """
    mode = asked.network_mode
    restart = asked.restart_policy
    return msgspec.structs.replace(
        asked,
        network_mode="bridge" if mode in ("", "default") else mode,
        restart_policy=restart if restart.name else RestartPolicy("no", restart.maximum_retry_count),
        log_config=_log(asked.log_config, defaults.log),
        ipc_mode=asked.ipc_mode or "private",
        cgroupns_mode=asked.cgroupns_mode or "private",
        shm_size=asked.shm_size or DEFAULT_SHM_BYTES,
        runtime=asked.runtime or "runc",
        init=defaults.init or None if asked.init is None else asked.init,
        memory_swap=asked.memory_swap or 2 * asked.memory,
        **_limits(asked),
        **_hidden_paths(asked),
    )


def _log(asked: LogConfig, default: LogConfig) -> LogConfig:
    """Return driver and options; the default's options are for its driver alone."""
    if asked.type not in ("", default.type):
        return asked
    return LogConfig(default.type, {**default.config, **asked.config})


def _limits(asked: HostConfig) -> dict[str, int | None]:
    """Return what has a null for "unlimited" or "as the machine has it", for which requests have numbers as well."""
    return {
        "memory_swappiness": None if asked.memory_swappiness == -1 else asked.memory_swappiness,
        "pids_limit": asked.pids_limit if (asked.pids_limit or 0) > 0 else None,
    }


def _hidden_paths(asked: HostConfig) -> dict[str, tuple[str, ...] | None]:
    """Return the masked and read-only paths: none where they were asked for as empty, or of a privileged container."""
    if asked.privileged:
        return {"masked_paths": None, "readonly_paths": None}
    return {
        "masked_paths": MASKED_PATHS if asked.masked_paths is None else asked.masked_paths,
        "readonly_paths": READONLY_PATHS if asked.readonly_paths is None else asked.readonly_paths,
    }


def _command(asked: Config, image: RuntimeConfig) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return entrypoint and cmd. An entrypoint of one empty word resets both, an empty list the entrypoint alone."""
    entrypoint, cmd = asked.entrypoint, asked.cmd
    if not entrypoint:
        if not cmd:
            cmd = image.cmd
        if entrypoint is None:
            entrypoint = image.entrypoint
    if entrypoint == ("",):
        entrypoint = None
    if not entrypoint and not cmd:
        raise ContainerError("no command specified", kind="invalid", code="no-command")
    return entrypoint, cmd


def _environment(asked: tuple[str, ...], image: tuple[str, ...]) -> tuple[str, ...]:
    names = {entry.partition("=")[0] for entry in asked}
    return (*asked, *(entry for entry in image if entry.partition("=")[0] not in names))


def _union(image: tuple[str, ...], asked: dict[str, dict[str, str]] | None) -> dict[str, dict[str, str]] | None:
    return {**{key: {} for key in image}, **(asked or {})} or None


def _healthcheck(asked: HealthConfig | None, image: Healthcheck | None) -> HealthConfig | None:
    given = None if image is None else HealthConfig(
        image.test, image.interval_ns, image.timeout_ns, image.start_period_ns, image.start_interval_ns, image.retries
    )  # fmt: skip
    if asked is None or given is None:
        return asked or given
    return HealthConfig(
        asked.test or given.test,
        asked.interval or given.interval,
        asked.timeout or given.timeout,
        asked.start_period or given.start_period,
        asked.start_interval or given.start_interval,
        asked.retries or given.retries,
        asked.on_failure,
    )

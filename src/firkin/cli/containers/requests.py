"""Options of `run` and `create` → CreateRequest. Does I/O. `cli` only.

It reads files of variables, labels and profiles. What is seldom given is read by modules that are loaded when it is.
Mirrors: docker/cli cli/command/container parse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from firkin.ambient import Ambient
from firkin.cli.arguments import Arguments
from firkin.cli.containers.values import duration_ns, integer, invalid, pairs, size, wrong
from firkin.containers.documents.config import Config, CreateRequest, HealthConfig, HostConfig, LogConfig, RestartPolicy

Fields = dict[str, Any]
_STREAMS = ("stdin", "stdout", "stderr")


def request_of(
    arguments: Arguments, ambient: Ambient, *, image: str, command: tuple[str, ...], proxies: Mapping[str, str]
) -> CreateRequest:
    """Return what the options ask for; `proxies` are those of docker's config.json. Raises UsageError."""
    config, host = _config(arguments, image, command), _host(arguments)
    for dests, part in _PARTS:
        if any(arguments.given(dest) for dest in dests.split()):
            of_config, of_host = part(arguments, ambient)
            config |= of_config
            host |= of_host
    if proxies or arguments.given("env") or arguments.given("env_file"):
        from firkin.cli.containers.environment import environment_of

        config["env"] = environment_of(arguments, ambient, proxies=proxies)
    if arguments.flag("rm") and host["restart_policy"].name not in ("", "no"):
        raise wrong("Conflicting options: --restart and --rm")
    return CreateRequest(
        Config(**config),
        HostConfig(**host),
        name=arguments.text("name"),
        platform=arguments.text("platform"),
        limits=arguments.text("limits", "refuse"),
    )


def _config(arguments: Arguments, image: str, command: tuple[str, ...]) -> Fields:
    streams = {_stream(text) for text in arguments.many("attach")}
    entrypoint = arguments.text("entrypoint")
    interactive = arguments.flag("interactive")
    stdin = interactive or "stdin" in streams
    return {
        "hostname": arguments.text("hostname"),
        "domainname": arguments.text("domainname"),
        "user": arguments.text("user"),
        "attach_stdin": stdin,
        "attach_stdout": not streams or "stdout" in streams,
        "attach_stderr": not streams or "stderr" in streams,
        "tty": arguments.flag("tty"),
        "open_stdin": interactive,
        "stdin_once": interactive and stdin,
        "cmd": command or None,
        "image": image,
        "working_dir": arguments.text("workdir"),
        # One empty word resets the image's, and its command with it.
        "entrypoint": (entrypoint,) if arguments.given("entrypoint") else None,
        "stop_signal": arguments.text("stop_signal"),
        "stop_timeout": integer(arguments, "--stop-timeout") if arguments.given("stop_timeout") else None,
    }


def _stream(text: str) -> str:
    if text.lower() not in _STREAMS:
        raise invalid("--attach", text, "valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def _host(arguments: Arguments) -> Fields:
    return {
        "container_id_file": arguments.text("cidfile"),
        "restart_policy": restart_policy(arguments.text("restart")),
        "auto_remove": arguments.flag("rm"),
        "volume_driver": arguments.text("volume_driver"),
        "volumes_from": arguments.many("volumes_from") or None,
        "cap_add": arguments.many("cap_add") or None,
        "cap_drop": arguments.many("cap_drop") or None,
        "cgroupns_mode": arguments.text("cgroupns"),
        "group_add": arguments.many("group_add") or None,
        "ipc_mode": arguments.text("ipc"),
        "pid_mode": arguments.text("pid"),
        "uts_mode": arguments.text("uts"),
        "userns_mode": arguments.text("userns"),
        "privileged": arguments.flag("privileged"),
        "readonly_rootfs": arguments.flag("read_only"),
        "shm_size": size(arguments, "--shm-size"),
        "runtime": arguments.text("runtime"),
        "isolation": arguments.text("isolation"),
        "oom_score_adj": integer(arguments, "--oom-score-adj"),
        "init": arguments.flag("init") if arguments.given("init") else None,
    }


def restart_policy(text: str) -> RestartPolicy:
    """Return the policy that `--restart` names. Raises UsageError."""
    name, colon, most = text.partition(":")
    if colon and not name:
        raise wrong("invalid restart policy format: no policy provided before colon")
    if not colon:
        return RestartPolicy(name or "no")
    try:
        return RestartPolicy(name, int(most) if len(most) < 10 else 1 << 40)
    except ValueError:
        raise wrong("invalid restart policy format: maximum retry count must be an integer") from None


def _labels(arguments: Arguments, ambient: Ambient) -> tuple[Fields, Fields]:
    from firkin.cli.containers.environment import labels_of

    return {"labels": labels_of(arguments, ambient)}, {}


def _annotations(arguments: Arguments, ambient: Ambient) -> tuple[Fields, Fields]:
    return {}, {"annotations": pairs(arguments.many("annotation"))}


def _health(arguments: Arguments, ambient: Ambient) -> tuple[Fields, Fields]:
    command = arguments.text("health_cmd")
    times = {
        field: duration_ns(f"--health-{field.replace('_', '-')}", arguments.text(f"health_{field}", "0s"))
        for field in ("interval", "timeout", "start_period", "start_interval")
    }
    retries = integer(arguments, "--health-retries")
    for field, value in (*times.items(), ("retries", retries)):
        if value < 0:
            raise wrong(f"--health-{field.replace('_', '-')} cannot be negative")
    test = ("CMD-SHELL", command) if command else ()
    action = arguments.text("health_on_failure").replace("none", "")
    check = HealthConfig(test, **times, retries=retries, on_failure=action)
    if arguments.flag("no_healthcheck"):
        if check != HealthConfig():
            raise wrong("--no-healthcheck conflicts with --health-* options")
        check = HealthConfig(("NONE",))
    return {"healthcheck": None if check == HealthConfig() else check}, {}


def _mounts(arguments: Arguments, ambient: Ambient) -> tuple[Fields, Fields]:
    from firkin.cli.containers import mounts

    binds, anonymous = mounts.volumes(arguments.many("volume"), ambient.cwd)
    here, asked = mounts.devices(arguments.many("device"))
    requests = asked
    if arguments.given("gpus"):
        from firkin.cli.containers.resources import gpus

        requests = (gpus(arguments.text("gpus")), *asked)
    return {"volumes": anonymous or None}, {
        "binds": binds or None,
        "mounts": tuple(mounts.mount(text, ambient.cwd) for text in arguments.many("mount")) or None,
        "tmpfs": mounts.tmpfs(arguments.many("tmpfs")) or None,
        "devices": here or None,
        "device_requests": requests or None,
        "storage_opt": _storage(arguments.many("storage_opt")) or None,
    }


def _storage(texts: tuple[str, ...]) -> dict[str, str]:
    if any("=" not in text for text in texts):
        raise wrong("invalid storage option")
    return pairs(texts)


def _network(arguments: Arguments, ambient: Ambient) -> tuple[Fields, Fields]:
    from firkin.cli.containers import networks

    ports = networks.ports(arguments.many("publish"), arguments.many("expose"))
    address = networks.mac_address(arguments.text("mac_address"))
    return {"exposed_ports": ports.exposed or None, "mac_address": address}, {
        "network_mode": networks.network(arguments),
        "port_bindings": ports.bindings or None,
        "publish_all_ports": arguments.flag("publish_all"),
        "extra_hosts": networks.hosts(arguments.many("add_host")) or None,
        "dns": networks.servers(arguments.many("dns")),
        "dns_search": networks.search_domains(arguments.many("dns_search")),
        "dns_options": arguments.many("dns_option"),
        "links": networks.links(arguments.many("link")) or None,
    }


def _security(arguments: Arguments, ambient: Ambient) -> tuple[Fields, Fields]:
    from firkin.cli.containers.security import security

    found = security(arguments.many("security_opt"), ambient.cwd)
    return {}, {
        "security_opt": found.options or None,
        "masked_paths": found.masked_paths,
        "readonly_paths": found.readonly_paths,
    }


def _resources(arguments: Arguments, ambient: Ambient) -> tuple[Fields, Fields]:
    from firkin.cli.containers import resources

    rules = tuple(map(resources.device_rule, arguments.many("device_cgroup_rule")))
    return {}, {
        **resources.limits(arguments),
        "ulimits": resources.ulimits(arguments.many("ulimit")) or None,
        "sysctls": resources.sysctls(arguments.many("sysctl")) or None,
        "device_cgroup_rules": rules or None,
    }


def _log(arguments: Arguments, ambient: Ambient) -> tuple[Fields, Fields]:
    driver, options = arguments.text("log_driver"), pairs(arguments.many("log_opt"))
    if driver == "none" and options:
        raise wrong("invalid logging opts for driver none")
    return {}, {"log_config": LogConfig(driver, options)}


# Options, and who reads them if one is given: fields of Config and of HostConfig.
_PARTS: tuple[tuple[str, Callable[[Arguments, Ambient], tuple[Fields, Fields]]], ...] = (
    ("label label_file", _labels),
    ("annotation", _annotations),
    ("health_cmd health_interval health_timeout health_retries health_start_period health_start_interval "
     "health_on_failure no_healthcheck", _health),
    ("volume mount tmpfs device gpus storage_opt", _mounts),
    ("network network_alias ip ip6 link_local_ip mac_address publish publish_all expose add_host dns dns_search "
     "dns_option link", _network),
    ("security_opt", _security),
    ("memory memory_swap memory_reservation memory_swappiness oom_kill_disable cpus cpu_shares cpu_period cpu_quota "
     "cpu_rt_period cpu_rt_runtime cpuset_cpus cpuset_mems pids_limit blkio_weight blkio_weight_device device_read_bps "
     "device_write_bps device_read_iops device_write_iops cgroup_parent ulimit sysctl device_cgroup_rule", _resources),
    ("log_driver log_opt", _log),
)  # fmt: skip

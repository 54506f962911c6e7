"""Requests that make no sense are refused in moby's words."""

import pytest

from firkin.containers.documents.checks import capability, check_request, is_cpu_list, security_option
from firkin.containers.documents.config import (
    Config,
    CreateRequest,
    DeviceRequest,
    HealthConfig,
    HostConfig,
    RestartPolicy,
    Ulimit,
)
from firkin.containers.documents.signals import parse_signal
from firkin.errors import ContainerError

MEBIBYTE = 1 << 20


def refusal(config: Config | None = None, host: HostConfig | None = None, limits: str = "refuse") -> str:
    with pytest.raises(ContainerError) as caught:
        check_request(CreateRequest(config or Config(), host or HostConfig(), limits=limits))
    assert caught.value.kind == "invalid"
    return caught.value.message


@pytest.mark.parametrize(("config", "words"), [
    (Config(working_dir="srv"), "the working directory 'srv' is invalid, it needs to be an absolute path"),
    (Config(env=("A=1", "=x")), "invalid environment variable: =x"),
    (Config(env=("",)), "invalid environment variable: "),
    (Config(stop_signal="SIGNOT"), "invalid signal: SIGNOT"),
    (Config(hostname="x" * 64), "longer than 63 bytes"),
    (Config(cmd=("a\0b",)), "zero byte"),
    (Config(healthcheck=HealthConfig(interval=999_999)), "Interval in Healthcheck cannot be less than one millisecond"),
    (Config(healthcheck=HealthConfig(start_interval=-1)), "StartInterval in Healthcheck cannot be less"),
    (Config(healthcheck=HealthConfig(retries=-1)), "Retries in Healthcheck cannot be negative"),
    (Config(healthcheck=HealthConfig(("CMD",))), "has no command"),
])
def test_what_the_process_cannot_be(config, words):
    assert words in refusal(config)


@pytest.mark.parametrize(("host", "words"), [
    (HostConfig(restart_policy=RestartPolicy("sometimes")), "unknown policy 'sometimes'"),
    (HostConfig(restart_policy=RestartPolicy("on-failure", -1)), "maximum retry count cannot be negative"),
    (HostConfig(restart_policy=RestartPolicy("always", 2)), "can only be used with 'on-failure'"),
    (HostConfig(restart_policy=RestartPolicy("always"), auto_remove=True), "can't create 'AutoRemove' container"),
    (HostConfig(memory=6 * MEBIBYTE - 1), "Minimum memory limit allowed is 6MB"),
    (HostConfig(memory=8 * MEBIBYTE, memory_swap=7 * MEBIBYTE), "should be larger than memory limit"),
    (HostConfig(memory_swap=8 * MEBIBYTE), "always set the Memory limit when using Memoryswap"),
    (HostConfig(memory_reservation=1), "Minimum memory reservation allowed is 6MB"),
    (HostConfig(memory=8 * MEBIBYTE, memory_reservation=9 * MEBIBYTE), "can not be less than memory reservation"),
    (HostConfig(memory_swappiness=101), "valid memory swappiness range is 0-100"),
    (HostConfig(nano_cpus=1, cpu_period=1000), "Nano CPUs and CPU Period cannot both be set"),
    (HostConfig(nano_cpus=1, cpu_quota=1000), "Nano CPUs and CPU Quota cannot both be set"),
    (HostConfig(nano_cpus=-1), "cannot be negative"),
    (HostConfig(cpu_shares=-1), "invalid CPU shares (-1): value must be a positive integer"),
    (HostConfig(cpu_period=999), "CPU cfs period can not be less than 1ms"),
    (HostConfig(cpu_quota=999), "CPU cfs quota can not be less than 1ms"),
    (HostConfig(cpuset_cpus="0-"), "Invalid value 0- for cpuset cpus"),
    (HostConfig(cpuset_mems="x"), "Invalid value x for cpuset mems"),
    (HostConfig(blkio_weight=9), "range of blkio weight is from 10 to 1000"),
    (HostConfig(ulimits=(Ulimit("nofile", 2, 1),)), "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
    (HostConfig(ipc_mode="sharable"), "invalid IPC mode: sharable"),
    (HostConfig(pid_mode="container:"), "invalid PID mode: container:"),
    (HostConfig(uts_mode="container:x"), "invalid UTS mode: container:x"),
    (HostConfig(userns_mode="keep-id"), "invalid user namespace mode: keep-id"),
    (HostConfig(cgroupns_mode="x"), "invalid cgroup namespace mode: x"),
    (HostConfig(isolation="hyperv"), "invalid isolation: hyperv"),
    (HostConfig(network_mode="container:"), "invalid container format container:<name|id>"),
    (HostConfig(network_mode="host", links=("a",)), "host type networking can't be used with links"),
    (HostConfig(network_mode="container:a", dns=("1.1.1.1",)), "conflicting options: dns and the network mode"),
    (HostConfig(network_mode="container:a", extra_hosts=("a:1.1.1.1",)), "custom host-to-IP mapping and the network mode"),
    (HostConfig(network_mode="container:a", publish_all_ports=True), "port publishing and the container type network"),
    (HostConfig(cap_add=("SYS_EVERYTHING",)), 'invalid CapAdd: unknown capability: "CAP_SYS_EVERYTHING"'),
    (HostConfig(cap_drop=("x",)), 'invalid CapDrop: unknown capability: "CAP_X"'),
    (HostConfig(security_opt=("x=y",)), 'invalid security option: "x=y"'),
    (HostConfig(security_opt=("no-new-privileges=maybe",)), "invalid security option"),
    (HostConfig(security_opt=("systempaths=none",)), "invalid security option"),
    (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
    (HostConfig(oom_score_adj=1001), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
    (HostConfig(runtime="kata"), "unknown or invalid runtime name: kata"),
    (HostConfig(volume_driver="nfs"), 'plugin "nfs" not found'),
    (HostConfig(storage_opt={"size": "1g"}), "storage options"),
    (HostConfig(device_requests=(DeviceRequest(capabilities=(("gpu",),)),)),
     'could not select device driver "" with capabilities: [[gpu]]'),
    (HostConfig(network_mode="host", sysctls={"net.core.somaxconn": "1"}), "not allowed in host network namespace"),
])
def test_how_it_cannot_run(host, words):
    assert words in refusal(host=host)


@pytest.mark.parametrize(("config", "host", "what"), [
    (Config(hostname="a"), HostConfig(uts_mode="host"), "hostname and the UTS mode"),
    (Config(hostname="a"), HostConfig(network_mode="container:b"), "hostname and the network mode"),
    (Config(exposed_ports={"80/tcp": {}}), HostConfig(network_mode="container:b"), "port exposing and the container type"),
    (Config(mac_address="02:42:ac:11:00:02"), HostConfig(network_mode="container:b"), "mac-address and the network mode"),
])
def test_options_that_contradict_one_another(config, host, what):
    assert refusal(config, host).startswith("conflicting options: ") and what in refusal(config, host)


def test_the_policy_of_limits_is_one_of_two():
    assert "`maybe` is neither" in refusal(limits="maybe")


@pytest.mark.parametrize("request_", [
    CreateRequest(Config()),
    CreateRequest(Config(working_dir="/srv", env=("A", "B="), stop_signal="rtmin+3", hostname="x" * 63)),
    CreateRequest(Config(), HostConfig(restart_policy=RestartPolicy("on-failure", 3), cpuset_cpus="0-3,7", runtime="runc")),
    CreateRequest(Config(), HostConfig(memory=6 * MEBIBYTE, memory_swap=-1, cpu_quota=-1, pids_limit=-1)),
    CreateRequest(Config(), HostConfig(ipc_mode="container:a", pid_mode="container:b", network_mode="container:c")),
    CreateRequest(Config(), HostConfig(security_opt=("no-new-privileges", "seccomp:unconfined", "label=disable"),
                                       cap_add=("all", "cap_chown"), cap_drop=("NET_RAW",))),
    CreateRequest(Config(healthcheck=HealthConfig(("NONE",)))),
    CreateRequest(Config(), HostConfig(network_mode="none", sysctls={"net.core.somaxconn": "1"}), limits="warn"),
])
def test_what_makes_sense_passes(request_):
    check_request(request_)


def test_spellings_of_capabilities():
    assert [capability(text) for text in ("chown", "CAP_CHOWN", "Cap_Chown", "all", "ALL")] == [
        "CAP_CHOWN", "CAP_CHOWN", "CAP_CHOWN", "ALL", "ALL"
    ]  # fmt: skip


def test_security_options_have_two_separators():
    assert security_option("label:type:x") == ("label", "type:x")
    assert security_option("seccomp={\"a\":1}") == ("seccomp", '{"a":1}')
    assert security_option("no-new-privileges") == ("no-new-privileges", "")


@pytest.mark.parametrize(("text", "good"), [
    ("0", True), ("0-3,5", True), ("3-1", False), ("", False), ("0,", False), ("-1", False), ("0-1-2", False),
    ("999999999999999999", False), ("٣", False),
])
def test_lists_of_processors(text, good):
    assert is_cpu_list(text) is good


@pytest.mark.parametrize(("text", "number"), [
    ("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("15", 15), ("WINCH", 28), ("CHLD", 17), ("URG", 23), ("PIPE", 13),
    ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("rtmax", 64), ("64", 64), ("HUP", 1),
])
def test_names_of_signals(text, number):
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIG", "RTMIN+16", "-1", "NOPE", "1.5", "9" * 5000])
def test_what_is_no_signal(text):
    with pytest.raises(ContainerError, match="invalid signal"):
        parse_signal(text)

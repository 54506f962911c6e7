"""Request and image together, by docs/dev/container-state.md, "Merging"."""

import pytest

from firkin.containers.documents.config import (
    DEFAULT_SHM_BYTES,
    Config,
    CreateRequest,
    HealthConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
)
from firkin.containers.documents.merge import MASKED_PATHS, READONLY_PATHS, Defaults, merge, path_and_args
from firkin.errors import ContainerError
from firkin.oci.config import Healthcheck, RuntimeConfig

IMAGE = RuntimeConfig(
    user="web",
    exposed_ports=("80/tcp", "443/tcp"),
    env=("PATH=/bin", "COMMIT=abc", "EMPTY="),
    entrypoint=("/entry", "-x"),
    cmd=("serve",),
    volumes=("/data",),
    working_dir="/srv",
    labels=(("colour", "red"), ("size", "1")),
    stop_signal="SIGQUIT",
    healthcheck=Healthcheck(("CMD", "probe"), 5_000_000_000, 2_000_000_000, 0, 0, 4),
    on_build=("RUN x",),
    shell=("/bin/bash", "-c"),
)


def merged(image: RuntimeConfig = IMAGE, **asked: object) -> Config:
    return merge(CreateRequest(Config(**{"cmd": ("x",), **asked})), image)[0]


def filled(**asked: object) -> HostConfig:
    return merge(CreateRequest(Config(), HostConfig(**asked)), IMAGE)[1]


@pytest.mark.parametrize(("entrypoint", "cmd", "words"), [
    (None, None, "/entry -x serve"),
    (None, ("a", "b"), "/entry -x a b"),
    ((), None, "serve"),
    ((), ("a",), "a"),
    (("sh",), None, "sh"),
    (("sh",), ("-c", "x"), "sh -c x"),
    (("",), ("a",), "a"),
])
def test_command(entrypoint, cmd, words):
    """An entrypoint drops both of the image's; `[]` keeps its command; one empty word drops both."""
    path, args = path_and_args(merged(entrypoint=entrypoint, cmd=cmd))
    assert " ".join((path, *args)) == words


@pytest.mark.parametrize(("image", "entrypoint"), [(IMAGE, ("",)), (RuntimeConfig(), None), (RuntimeConfig(), ())])
def test_no_command_is_left(image, entrypoint):
    with pytest.raises(ContainerError, match="no command specified") as caught:
        merged(image, entrypoint=entrypoint, cmd=None)
    assert caught.value.kind == "invalid"


def test_environment_is_the_requests_then_the_images():
    assert merged(env=("B=1", "COMMIT=a different value")).env == (
        "B=1", "COMMIT=a different value", "PATH=/bin", "EMPTY="
    )  # fmt: skip
    assert merged(env=("COMMIT",)).env == ("COMMIT", "PATH=/bin", "EMPTY=")  # removed when the process starts
    assert merged().env == IMAGE.env


def test_what_the_request_says_wins():
    config = merged(user="0", working_dir="/", stop_signal="INT", labels={"size": "2"}, volumes={"/data": {}, "/b": {}},
                    exposed_ports={"9/udp": {}})  # fmt: skip
    assert (config.user, config.working_dir, config.stop_signal) == ("0", "/", "INT")
    assert config.labels == {"colour": "red", "size": "2"}
    assert config.volumes == {"/data": {}, "/b": {}}
    assert config.exposed_ports == {"80/tcp": {}, "443/tcp": {}, "9/udp": {}}


def test_what_the_request_leaves_out_is_the_images():
    config = merged()
    assert (config.user, config.working_dir, config.stop_signal) == ("web", "/srv", "SIGQUIT")
    assert config.labels == {"colour": "red", "size": "1"} and config.volumes == {"/data": {}}
    assert (config.on_build, config.shell, config.stop_timeout) == (None, None, None)


@pytest.mark.parametrize(("asked", "expected"), [
    (None, HealthConfig(("CMD", "probe"), 5_000_000_000, 2_000_000_000, 0, 0, 4)),
    (HealthConfig(interval=1_000_000), HealthConfig(("CMD", "probe"), 1_000_000, 2_000_000_000, 0, 0, 4)),
    (HealthConfig(("CMD-SHELL", "x"), retries=1), HealthConfig(("CMD-SHELL", "x"), 5_000_000_000, 2_000_000_000, 0, 0, 1)),
])
def test_health_check_is_merged_field_by_field(asked, expected):
    assert merged(healthcheck=asked).healthcheck == expected


def test_health_check_can_be_switched_off():
    check = merged(healthcheck=HealthConfig(("NONE",))).healthcheck
    assert check is not None and check.test == ("NONE",)
    assert merged(RuntimeConfig(), healthcheck=None).healthcheck is None


def test_host_config_is_filled_in():
    host = filled(network_mode="", restart_policy=RestartPolicy(""), pids_limit=0, memory_swappiness=-1, memory=8 << 20)
    assert (host.network_mode, host.restart_policy.name, host.log_config.type) == ("bridge", "no", "json-file")
    assert (host.ipc_mode, host.cgroupns_mode, host.shm_size) == ("private", "private", DEFAULT_SHM_BYTES)
    assert (host.masked_paths, host.readonly_paths) == (MASKED_PATHS, READONLY_PATHS)
    assert (host.pids_limit, host.memory_swappiness, host.init) == (None, None, None)
    assert host.memory_swap == 16 << 20


def test_host_config_keeps_what_it_says():
    host = filled(network_mode="host", memory=8 << 20, memory_swap=-1, masked_paths=(), readonly_paths=("/x",),
                  init=False, pids_limit=5, memory_swappiness=0)  # fmt: skip
    assert (host.network_mode, host.memory_swap, host.masked_paths, host.readonly_paths) == ("host", -1, (), ("/x",))
    assert (host.init, host.pids_limit, host.memory_swappiness) == (False, 5, 0)


def test_a_privileged_container_hides_nothing():
    host = filled(privileged=True)
    assert (host.masked_paths, host.readonly_paths) == (None, None)


def test_the_machines_defaults_fill_logs_and_init():
    defaults = Defaults(LogConfig("local", {"max-size": "1m"}), init=True)
    asked = HostConfig(log_config=LogConfig("", {"max-file": "2"}))
    host = merge(CreateRequest(Config(), asked), IMAGE, defaults)[1]
    assert host.log_config == LogConfig("local", {"max-size": "1m", "max-file": "2"}) and host.init is True
    own = merge(CreateRequest(Config(), HostConfig(log_config=LogConfig("none"), init=False)), IMAGE, defaults)[1]
    assert own.log_config == LogConfig("none") and own.init is False
    named = merge(CreateRequest(Config(), HostConfig(log_config=LogConfig("local", {"a": "b"}))), IMAGE, defaults)[1]
    assert named.log_config == LogConfig("local", {"max-size": "1m", "a": "b"})

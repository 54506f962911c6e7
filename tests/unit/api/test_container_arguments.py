"""Arguments of `client.containers` as requests."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from firkin.api.client_arguments import prunable
from firkin.api.container_arguments import (
    CreateOptions,
    UpdateOptions,
    create_request,
    size,
    time_ns,
    update_fields,
    variables,
    words,
)
from firkin.containers.documents.config import Device, HealthConfig, Mount, RestartPolicy, Ulimit
from firkin.errors import CommandFailed, UsageError


def request(command: Any = None, foreground: bool = False, **options: Any) -> Any:
    given: CreateOptions = options  # type: ignore[assignment]
    return create_request("app:1", command, given, foreground=foreground)


def test_an_image_alone() -> None:
    found = request()
    assert found.config.image == "app:1" and found.config.cmd is None and found.name == ""
    assert found.limits == "refuse" and not found.config.attach_stdout


def test_commands_are_split_as_a_shell_does() -> None:
    assert request("sh -c 'echo a b'").config.cmd == ("sh", "-c", "echo a b")
    assert request(["echo", "a b"]).config.cmd == ("echo", "a b")
    assert words("command", "") == ()
    with pytest.raises(UsageError, match="no closing quotation"):
        request("echo 'x")


@pytest.mark.parametrize(
    ("options", "where", "field", "value"),
    [
        ({"environment": {"A": "1", "B": None}}, "config", "env", ("A=1", "B")),
        ({"environment": ["A=1"]}, "config", "env", ("A=1",)),
        ({"labels": ["x"]}, "config", "labels", {"x": ""}),
        ({"user": 1000}, "config", "user", "1000"),
        ({"working_dir": "/srv"}, "config", "working_dir", "/srv"),
        ({"entrypoint": "a b"}, "config", "entrypoint", ("a", "b")),
        ({"healthcheck": {"test": "true", "interval": 5, "start_period": 7}}, "config", "healthcheck",
         HealthConfig(("CMD-SHELL", "true"), 5, 0, 7)),
        ({"tty": True}, "config", "tty", True),
        ({"mem_limit": "64m"}, "host_config", "memory", 64 << 20),
        ({"memswap_limit": -1}, "host_config", "memory_swap", -1),
        ({"network": "none"}, "host_config", "network_mode", "none"),
        ({"read_only": True}, "host_config", "readonly_rootfs", True),
        ({"restart_policy": {"Name": "on-failure", "MaximumRetryCount": 3}}, "host_config", "restart_policy",
         RestartPolicy("on-failure", 3)),
        ({"ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}]}, "host_config", "ulimits", (Ulimit("nofile", 1, 2),)),
        ({"devices": ["/dev/a:/dev/b:r", "/dev/c"]}, "host_config", "devices",
         (Device("/dev/a", "/dev/b", "r"), Device("/dev/c", "/dev/c"))),
        ({"mounts": [{"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": True}]}, "host_config", "mounts",
         (Mount("volume", "v", "/v", True),)),
        ({"volumes": {"v": {"bind": "/v", "mode": "ro"}, "/h": {"bind": "/h"}}}, "host_config", "binds",
         ("v:/v:ro", "/h:/h")),
        ({"volumes": ["v:/v", "/alone"]}, "config", "volumes", {"/alone": {}}),
        ({"extra_hosts": {"a": "1.2.3.4"}}, "host_config", "extra_hosts", ("a:1.2.3.4",)),
        ({"sysctls": {"net.x": 1}}, "host_config", "sysctls", {"net.x": "1"}),
        ({"group_add": ["a", 5]}, "host_config", "group_add", ("a", "5")),
        ({"cgroupns": "host"}, "host_config", "cgroupns_mode", "host"),
        ({"cap_add": None}, "host_config", "cap_add", None),
    ],
)  # fmt: skip
def test_arguments(options: dict[str, Any], where: str, field: str, value: object) -> None:
    assert getattr(getattr(request(**options), where), field) == value


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nonsense": 1}, "no argument of create"),
        ({"environment": 5}, "environment"),
        ({"mem_limit": "much"}, "mem_limit"),
        ({"volumes": {"v": {}}}, "no `bind`"),
        ({"restart_policy": "always"}, "mapping"),
        ({"ulimits": [{"Name": "nofile", "Soft": "many"}]}, "ulimits"),
        ({"ports": {"80/tcp": 80}}, "network"),
        ({"privileged": 1}, "True or False"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        request(**options)


def test_ports_of_the_machine_are_the_containers() -> None:
    assert request(ports={"80/tcp": 80}, network_mode="host").host_config.network_mode == "host"


def test_the_foreground_is_attached() -> None:
    config = request(foreground=True, stdin_open=True).config
    assert config.attach_stdout and config.attach_stderr and config.stdin_once


def test_sizes_times_and_variables() -> None:
    assert size("x", "1k") == 1024 and size("x", 7) == 7
    assert time_ns("x", 1.5) == 1_500_000_000
    moment = datetime(1970, 1, 1, 0, 0, 1)
    assert time_ns("x", moment) == time_ns("x", moment.replace(tzinfo=UTC)) == 1_000_000_000
    assert time_ns("x", moment.replace(tzinfo=timezone(-timedelta(hours=1)))) == 3601 * 10**9
    assert variables("x", {"N": 1}) == ("N=1",)


def test_filters_of_prune() -> None:
    fits = prunable({"label": "a=1", "until": "100"})
    assert fits({"a": "1"}, "1970-01-01T00:00:00Z")
    assert not fits({"a": "2"}, "1970-01-01T00:00:00Z")
    assert not fits({"a": "1"}, "2020-01-01T00:00:00Z")
    assert not prunable({"label!": "a"})({"a": ""}, "")
    with pytest.raises(UsageError, match="invalid filter"):
        prunable({"name": "x"})


def test_a_failed_command_says_what_it_said() -> None:
    failed = CommandFailed(None, 3, "app:1", b"bad\n")
    assert failed.message == "a command in image `app:1` returned non-zero exit status 3: bad"
    assert failed.exit_code == 3 and failed.kind == "failed"


def test_changes_of_an_update() -> None:
    changes: UpdateOptions = {"mem_limit": "1g", "restart_policy": {"Name": "always"}}
    assert update_fields(changes) == {"memory": 1 << 30, "restart_policy": RestartPolicy("always")}
    with pytest.raises(UsageError, match="no argument of update"):
        update_fields({"name": "x"})  # type: ignore[typeddict-unknown-key]

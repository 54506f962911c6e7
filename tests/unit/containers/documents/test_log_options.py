"""Drivers and options of logs."""

from typing import Any

import pytest

from firkin.containers.documents.config import Config, HostConfig, LogConfig
from firkin.containers.documents.log_options import check_log_config, log_path, log_plan
from firkin.containers.documents.record import Record
from firkin.errors import ContainerError


def plan(driver: str = "", *, labels: dict[str, str] | None = None, env: tuple[str, ...] = (), **options: str) -> dict[str, Any]:
    log = LogConfig(driver, {name.replace("_", "-"): value for name, value in options.items()})
    check_log_config(log)
    config = Config(image="box:1", labels=labels or {"a": "1", "b": "2"}, env=env)
    record = Record(1, "ab" * 32, "web", "", "sha256:" + "c" * 64, config, HostConfig(log_config=log), "", (), ())
    return log_plan(record, "/c")


def test_without_options_one_file_grows() -> None:
    assert plan() == {"type": "json-file", "path": f"/c/log/{'ab' * 32}-json.log", "max_size": 0, "max_file": 1,
                      "compress": False, "attrs": {}, "buffer": 0}  # fmt: skip


def test_local_is_bounded_and_compressed() -> None:
    found = plan("local")
    assert (found["path"], found["max_size"], found["max_file"], found["compress"]) == ("/c/log/container.log", 20 << 20, 5, True)


def test_none_has_no_path() -> None:
    assert (plan("none")["type"], log_path("/c", "x", "none")) == ("none", "")


@pytest.mark.parametrize(("text", "size"), [("10m", 10 << 20), ("1.5k", 1536), ("7", 7), ("2gb", 2 << 30), ("3MiB", 3 << 20)])
def test_sizes_have_units(text: str, size: int) -> None:
    assert plan(max_size=text)["max_size"] == size


def test_labels_and_variables_become_attributes() -> None:
    assert plan(labels={"a": "1", "b": "2"}, env=("HOST=x", "NAME=y"), labels_regex="^b", env_regex="^H",
                tag="{{.Name}}/{{.ID}}/{{.ImageName}}")["attrs"] == {
        "b": "2", "HOST": "x", "tag": f"web/{'ab' * 6}/box:1",
    }  # fmt: skip


def test_a_log_that_does_not_block_has_a_buffer() -> None:
    assert plan(mode="non-blocking")["buffer"] == 1 << 20
    assert plan(mode="non-blocking", max_buffer_size="4m")["buffer"] == 4 << 20


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        ("syslog", {}, "no log driver named 'syslog'"),
        ("", {"colour": "red"}, "unknown log opt 'colour' for json-file log driver"),
        ("none", {"max-size": "1m"}, "unknown log opt 'max-size' for none"),
        ("", {"max-size": "much"}, "invalid value for max-size"),
        ("", {"max-size": "1m", "max-file": "0"}, "max-file cannot be less than 1"),
        ("", {"compress": "true"}, "compress cannot be true"),
        ("", {"compress": "perhaps"}, "invalid value for compress"),
        ("", {"mode": "sometimes"}, "logging mode not supported"),
        ("", {"max-buffer-size": "1m"}, "only supported with 'mode=non-blocking'"),
        ("", {"env-regex": "("}, "env-regex"),
    ],
)
def test_what_cannot_be_is_refused(driver: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(ContainerError, match=words) as caught:
        check_log_config(LogConfig(driver, options))
    assert caught.value.kind == "invalid"

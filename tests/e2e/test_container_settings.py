"""What config.toml says of containers: their log driver and its options."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.scripts import run_python

pytestmark = [pytest.mark.registry, pytest.mark.userns]

MADE = ("create", "--network", "none")
WRITE = "seq 200; sleep 0.2; seq 200"  # what comes at once is written at once, whatever the size of a file may be


@pytest.fixture(scope="module")
def settings(shared_box: Firkin) -> Iterator[Path]:
    """A config.toml with a default log driver that differs from docker's."""
    file = shared_box.directory("settings") / "config.toml"
    file.write_text('[containers.log-opts]\nmax-size = "1k"\nmax-file = 2\n\n[containers]\nlog-driver = "local"\n')
    shared_box.account.give(file.parent)
    yield file
    file.unlink()


def logs_of(firkin: Firkin, env: dict[str, str], *options: str) -> dict[str, object]:
    id = firkin.run(*MADE, *options, "box:1", "true", env=env).stdout.strip()
    config = json.loads(firkin.run("inspect", "-f", "{{json .HostConfig.LogConfig}}", id).stdout)
    firkin.run("rm", id)
    return config


def test_the_default_log_driver_is_that_of_config_toml(shared_box: Firkin, settings: Path) -> None:
    env = {"FIRKIN_CONFIG": str(settings)}
    options = {"max-size": "1k", "max-file": "2"}
    assert logs_of(shared_box, {}) == {"Type": "json-file", "Config": {}}
    assert logs_of(shared_box, env) == {"Type": "local", "Config": options}
    assert logs_of(shared_box, env, "--log-opt", "max-file=5") == {
        "Type": "local",
        "Config": {**options, "max-file": "5"},
    }
    assert logs_of(shared_box, env, "--log-driver", "local") == {"Type": "local", "Config": options}
    assert logs_of(shared_box, env, "--log-driver", "json-file") == {"Type": "json-file", "Config": {}}
    assert json.loads(shared_box.run("info", "-f", "json", env=env).stdout)["LoggingDriver"] == "local"
    # An option of another driver than the default is refused with docker's words.
    result = shared_box.run(*MADE, "--log-opt", "tag=a", "box:1", "true", env=env, check=False)
    assert result.returncode == 1
    assert "unknown log opt 'tag' for local log driver" in result.stderr


def test_the_default_holds_for_what_is_written(shared_box: Firkin, settings: Path) -> None:
    name = "settings-written"
    env = {"FIRKIN_CONFIG": str(settings)}
    shared_box.run("run", "--name", name, "--network", "none", "box:1", "sh", "-c", WRITE, env=env)
    id = shared_box.run("inspect", "-f", "{{.Id}}", name).stdout.strip()
    files = sorted(path.name for path in (shared_box.store / "containers" / id / "log").iterdir())
    assert files[0] == "container.log" and len(files) == 2  # `local`, with two files of 1 kB
    assert shared_box.run("logs", "--tail", "1", name).stdout == "200\n"
    shared_box.run("rm", name)


def test_the_python_api_reads_it_too(shared_box: Firkin, settings: Path) -> None:
    said = run_python(shared_box, f"""
import firkin
client = firkin.connect(config={str(settings)!r})
box = client.containers.create("box:1", "true", network_mode="none")
print(box.attrs["HostConfig"]["LogConfig"]["Type"])
other = client.containers.create("box:1", "true", network_mode="none", log_config={{"type": "none"}})
print(other.attrs["HostConfig"]["LogConfig"]["Type"])
box.remove(), other.remove()
""").stdout  # fmt: skip
    assert said.split() == ["local", "none"]

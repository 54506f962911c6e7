"""config.toml as strangers may have written it."""

import re
from pathlib import Path

import pytest

from firkin.containers.documents.config import LogConfig
from firkin.errors import UsageError
from firkin.registry.settings import RegistrySettings
from firkin.settings import Settings, read_settings


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x=" + b"[" * 5000, "nested too deep"),
        (b"x=" + b"9" * 5000, "limit"),
        (b'x="caf\xe9"', "utf-8"),
        (b"isolation=5", "must be auto"),
    ],
)
def test_odd_values_are_errors_with_their_file(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=message) as caught:
        read_settings((str(file),), "", RegistrySettings())
    assert str(file) in caught.value.message


def settings(tmp_path: Path, *texts: str) -> Settings:
    files = []
    for number, text in enumerate(texts):
        files.append(f"{tmp_path}/{number}.toml")
        Path(files[-1]).write_text(text)
    return read_settings(tuple(files), "", RegistrySettings())


def test_options_of_the_log_driver_belong_to_it(tmp_path: Path) -> None:
    """The table's order does not matter, numbers may be numbers; another driver in a later file begins anew."""
    first = '[containers.log-opts]\nmax-size = "1m"\nmax-file = 3\ncompress = true\n[containers]\nlog-driver = "local"\n'
    options = {"max-size": "1m", "max-file": "3", "compress": "true"}
    for later, log in (
        ("", LogConfig("local", options)),
        ('[containers]\nlog-driver = "local"\n', LogConfig("local", options)),
        ("[containers.log-opts]\nmax-file = 5\n", LogConfig("local", {**options, "max-file": "5"})),
        ('[containers]\nlog-driver = "none"\n', LogConfig("none")),
        ('[containers]\nlog-driver = "json-file"\nlog-opts = { tag = "x" }', LogConfig("json-file", {"tag": "x"})),
    ):
        found = settings(tmp_path, first, later).containers
        assert found is not None and found.log == log
    assert settings(tmp_path, "").containers is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[containers]\nlog-driver = "syslog"', "`containers.log-driver` cannot be had: logger: no log driver named"),
        ('[containers.log-opts]\nsyslog-address = "x"', "unknown log opt 'syslog-address' for json-file"),
        ('[containers.log-opts]\nmax-size = "much"', "invalid value for max-size: much"),
        ("[containers.log-opts]\nmax-size = 1.5", "must be a text"),
        ("[containers]\nlog-opts = 1", "must be a table"),
        ("[containers]\nlogs = 1", "`containers.logs` is not a known key"),
    ],
)
def test_a_log_driver_is_checked_where_it_is_set(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        settings(tmp_path, text)
    assert f"{tmp_path}/0.toml" in caught.value.message

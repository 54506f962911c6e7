"""config.toml as strangers may have written it."""

from pathlib import Path

import pytest

from firkin.errors import UsageError
from firkin.registry.settings import RegistrySettings
from firkin.settings import read_settings


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

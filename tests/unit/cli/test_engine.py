"""Where the store of a command on containers is, and what has to be read to know it."""

import subprocess
import sys
from pathlib import Path

import pytest

from firkin.ambient import Ambient
from firkin.cli.arguments import Arguments
from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.errors import UsageError


def invocation(home: Path, text: str | None, **options: str) -> Invocation:
    if text is not None:
        (home / "firkin").mkdir()
        (home / "firkin/config.toml").write_text(text)
    given = {name: (value,) for name, value in options.items()}
    return Invocation(Arguments(given, ()), Ambient({"XDG_CONFIG_HOME": str(home)}, "/", str(home), 1000, 0.0))


@pytest.mark.parametrize(("text", "store"), [
    (None, "home"), ("", "home"), ("[registry]\nparallel = 3\n", "home"),
    ("root = '/there'\n", "/there"), ("# root\n", "home"), ('"r\\u006fot" = "/there"\n', "/there"),
])  # fmt: skip
def test_a_config_file_places_the_store(tmp_path: Path, text: str | None, store: str) -> None:
    found = open_engine(invocation(tmp_path, text)).root
    assert found == (f"{tmp_path}/.local/share/firkin" if store == "home" else store)


def test_options_win(tmp_path: Path) -> None:
    assert open_engine(invocation(tmp_path, "root = '/there'\n", root="/here")).root == "/here"
    (tmp_path / "other.toml").write_text("root = '/other'\n")
    asked = invocation(tmp_path, None, config=f"{tmp_path}/other.toml")
    assert open_engine(asked).root == "/other"


def test_a_config_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        open_engine(invocation(tmp_path, "root = \n"))
    (tmp_path / "firkin/config.toml").unlink()
    (tmp_path / "firkin/config.toml").mkdir()
    with pytest.raises(UsageError):
        open_engine(invocation(tmp_path, None))


def test_settings_of_registries_are_not_read_for_it(tmp_path: Path) -> None:
    (tmp_path / "firkin").mkdir()
    (tmp_path / "firkin/config.toml").write_text("[registry]\nparallel = 3\n")
    script = (
        "import sys\nfrom firkin.ambient import Ambient\nfrom firkin.cli.arguments import Arguments\n"
        "from firkin.cli.command import Invocation\nfrom firkin.cli.engine import open_engine\n"
        f"ambient = Ambient({{'XDG_CONFIG_HOME': {str(tmp_path)!r}}}, '/', '/nowhere', 1000, 0.0)\n"
        "open_engine(Invocation(Arguments({}, ()), ambient))\n"
        "assert not {'tomllib', 'firkin.settings', 'msgspec'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_config_file_has_defaults_for_containers(tmp_path: Path) -> None:
    engine = open_engine(invocation(tmp_path, "[containers]\nlog-driver = 'local'\n[unpack]\nmax-entries = 5\n"))
    assert engine.defaults is not None and engine.defaults.log.type == "local"
    assert engine.limits is not None and engine.limits.entries == 5

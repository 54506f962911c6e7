"""Called docker, firkin answers as the docker client that is installed: exit codes, streams, fields of templates."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REAL = shutil.which("docker")


def _is_recent() -> bool:
    """Tell whether there is a client, of a version whose words and exit codes firkin follows."""
    if REAL is None:
        return False
    said = subprocess.run([REAL, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)", said)
    return found is not None and int(found.group(1)) >= 28


pytestmark = [pytest.mark.skipif(not _is_recent(), reason="there is no docker client of version 28 or later"), pytest.mark.clients]


@pytest.fixture
def link(tmp_path: Path) -> Path:
    program = tmp_path / "firkin"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom firkin.cli.main import main\nsys.exit(main())\n")
    program.chmod(0o755)
    os.symlink(program, tmp_path / "docker")
    return tmp_path / "docker"


def run(program: str | Path, words: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home), "FIRKIN_ROOT": str(home / "store")}
    return subprocess.run([program, *words], env=environ, cwd=home, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [
    "", "--help", "help", "--version", "-v", "-Dv", "frobnicate", "help frobnicate", "compose version", "--frob",
    "--config", "-l loud version", "-c default --version", "-c nothing images", "image", "image --help", "help image",
    "image frob", "image --frob", "image ls --frob", "images --help", "help image ls", "system", "login a b",
    "login --password-stdin", "login -u a --password-stdin -p x", "login -u x", "logout", "logout r.example", "tag a",
])  # fmt: skip
def test_the_same_exit_code_and_the_same_streams(link: Path, tmp_path: Path, words: str) -> None:
    assert REAL is not None
    real, own = (run(program, words.split(), tmp_path) for program in (REAL, link))
    assert own.returncode == real.returncode, own.stderr
    assert bool(own.stdout) == bool(real.stdout)
    if real.returncode:
        assert own.stderr


@pytest.mark.parametrize("words", ["logout", "logout r.example", "logout https://r.example/v2/"])
def test_the_same_words(link: Path, tmp_path: Path, words: str) -> None:
    assert REAL is not None
    assert run(link, words.split(), tmp_path).stdout == run(REAL, words.split(), tmp_path).stdout


@pytest.mark.parametrize("command", ["version", "info"])
def test_every_field_of_its_templates_is_there(link: Path, tmp_path: Path, command: str) -> None:
    assert REAL is not None
    real, own = (
        json.loads(run(program, [command, "--format", "{{json .}}"], tmp_path).stdout) for program in (REAL, link)
    )
    assert missing(real, own) == []
    for name in real:  # and can be named in a template
        shown = run(link, [command, "--format", "{{." + name + "}}"], tmp_path)
        assert (shown.returncode, shown.stderr) == (0, "")


def missing(real: object, own: object, at: str = "") -> list[str]:
    """Return the names of objects that only the real document has."""
    if not isinstance(real, dict):
        return []
    if not isinstance(own, dict):
        return [at]
    return [*(f"{at}.{name}" for name in real.keys() - own.keys()),
            *(text for name in real.keys() & own.keys() for text in missing(real[name], own[name], f"{at}.{name}"))]  # fmt: skip

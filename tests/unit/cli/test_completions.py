"""What shells offer after a word of a command line; each shell is asked itself."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from firkin.cli.command import load_command
from firkin.cli.commands import COMMANDS
from firkin.cli.completions import SHELLS
from firkin.cli.completions.words import fixed_words, groups, known_paths, operands
from firkin.store.names import names_in

LOADED = {name: (summary, load_command(module)) for name, (module, summary) in COMMANDS.items()}


@pytest.fixture
def environ(tmp_path):
    """Surroundings whose firkin knows two images."""
    names = tmp_path / "bin/firkin"
    names.parent.mkdir()
    names.write_text('#!/bin/sh\n[ "$*" = "completion --names" ] && printf "app:1\\nregistry.lan:5000/app:2\\n"\n')
    names.chmod(0o755)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/file").touch()
    (tmp_path / "empty/film").touch()
    return {"PATH": f"{names.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


@pytest.fixture
def scripts(tmp_path):
    for shell, make in SHELLS.items():
        (tmp_path / shell).write_text(make(LOADED))
    return tmp_path


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


def offered_by_bash(scripts, environ, line: str) -> list[str]:
    words = re.split(r"([:=])| ", line)  # COMP_WORDBREAKS
    listed = " ".join(f"'{word}'" for word in words if word is not None)
    ask = f"""source {scripts}/bash; COMP_WORDS=({listed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _firkin; printf '%s\\n' "${{COMPREPLY[@]}}" """
    result = subprocess.run(["bash", "-c", ask], env=environ, cwd=scripts / "empty", capture_output=True, text=True)
    assert result.stderr == ""
    return result.stdout.split()


def offered_by_fish(scripts, environ, line: str) -> list[str]:
    ask = f"source {scripts}/fish; complete -C '{line}'"
    result = subprocess.run(["fish", "-c", ask], env=environ, cwd=scripts / "empty", capture_output=True, text=True)
    assert result.stderr == ""
    return [line.partition("\t")[0] for line in result.stdout.splitlines()]


def offered_by_zsh(scripts, environ, line: str) -> list[str]:
    """Type the line and a Tab into a zsh on a terminal; return the words that it lists."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(scripts / "empty")
        os.execvpe("zsh", ["zsh", "-f", "-i"], environ)
    try:
        ready = "autoload -Uz compinit; compinit -D -u; unsetopt beep; LISTMAX=1000; PS1=; setopt no_always_last_prompt"
        os.write(terminal, f"{ready}; source {scripts}/zsh; echo rea''dy\n".encode())
        _until(terminal, "ready")
        os.write(terminal, f"{line}\t".encode())
        time.sleep(0.3)
        os.write(terminal, b"\t\x15echo do''ne\n")
        return re.findall(r"[\w:./-]+", _until(terminal, "done").rpartition(line)[0] + _rest(terminal))
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def _until(terminal: int, word: str) -> str:
    text, deadline = "", time.monotonic() + 30
    while word not in text:
        assert time.monotonic() < deadline, text
        text += _rest(terminal)
    return text


def _rest(terminal: int) -> str:
    if select.select([terminal], [], [], 0.2)[0]:
        return os.read(terminal, 1 << 16).decode(errors="replace")
    return ""


def _beginning(group: str, letters: str) -> list[str]:
    return [word for word in groups()[group] if word.startswith(letters)]


@pytest.mark.parametrize(("line", "expected"), [
    ("firkin bu", _beginning("", "bu")),
    ("firkin --root x --debug bu", _beginning("", "bu")),
    ("firkin completion ", ["bash", "zsh", "fish"]),
    ("firkin save -o fi", ["file", "film"]),
    ("firkin build fi", ["file", "film"]),
    ("firkin build --target fi", []),
    ("firkin login fi", []),
    ("firkin frob fi", []),
    ("firkin -D image ls --no", ["--no-trunc"]),
    ("firkin build --ta", ["--tag", "--target"]),
    ("firkin build --progress pl", ["plain"]),
    ("firkin build --progress=pl", ["plain"]),
    ("firkin build --progress=", ["auto", "plain", "tty", "json", "rawjson", "quiet", "none"]),
    ("firkin rmi ap", ["app:1"]),
    ("firkin tag app:", ["1"]),
    ("firkin push registry.lan:5000/a", ["5000/app:2"]),
    ("firkin buildx ", [*groups()["buildx"]]),
    ("firkin image l", _beginning("image", "l")),
    ("firkin buildx build --ta", ["--tag", "--target"]),
    ("firkin image rm ap", ["app:1"]),
    ("firkin image ls --no", ["--no-trunc"]),
])  # fmt: skip
def test_bash(scripts, environ, line, expected):
    assert offered_by_bash(scripts, environ, line) == expected


@pytest.mark.parametrize(("line", "expected"), [
    ("firkin bu", {*_beginning("", "bu")}),
    ("firkin --root x -D bu", {*_beginning("", "bu")}),
    ("firkin completion ", {"bash", "zsh", "fish"}),
    ("firkin save -o fi", {"file", "film"}),
    ("firkin build --target fi", set()),
    ("firkin login fi", set()),
    ("firkin build --ta", {"--tag", "--target"}),
    ("firkin build --progress pl", {"plain"}),
    ("firkin rmi ", {"app:1", "registry.lan:5000/app:2"}),
    ("firkin prune --older", {"--older-than"}),
    ("firkin buildx ", {*groups()["buildx"]}),
    ("firkin image l", {*_beginning("image", "l")}),
    ("firkin buildx build --ta", {"--tag", "--target"}),
    ("firkin image rm ", {"app:1", "registry.lan:5000/app:2"}),
    ("firkin image ls --no", {"--no-trunc"}),
])  # fmt: skip
def test_fish(scripts, environ, line, expected):
    needs("fish")
    assert set(offered_by_fish(scripts, environ, line)) == expected


@pytest.mark.parametrize(("line", "expected"), [
    ("firkin build --ta", {"--tag", "--target"}),
    ("firkin build --progress ", {"auto", "plain", "tty"}),
    ("firkin rmi ", {"app:1", "registry.lan:5000/app:2"}),
    ("firkin ", {"build", "check", "images", "prune", "image"}),
    ("firkin completion ", {"bash", "zsh", "fish"}),
    ("firkin --root x im", {*_beginning("", "im")}),
    ("firkin build -t x fi", {"file", "film"}),
    ("firkin buildx ", {"build", "du", "prune", "version"}),
    ("firkin buildx build --ta", {"--tag", "--target"}),
    ("firkin image rm ", {"app:1", "registry.lan:5000/app:2"}),
])  # fmt: skip
def test_zsh(scripts, environ, line, expected):
    needs("zsh")
    assert expected <= set(offered_by_zsh(scripts, environ, line))


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_valid(scripts, environ, shell):
    needs(shell)
    result = subprocess.run([shell, "-n", str(scripts / shell)], env=environ, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(("usage", "kind", "words"), [
    ("[OPTIONS] IMAGE...", "images", ()),
    ("[OPTIONS] IMAGE [PATH]", "images", ()),
    ("IMAGE PATH [DEST]", "both", ()),
    ("[OPTIONS] SRC DST", "images", ()),
    ("[OPTIONS] A B", "images", ()),
    ("[OPTIONS] FILE|URL|- [REPOSITORY[:TAG]]", "both", ()),
    ("[OPTIONS] CONTEXT", "files", ()),
    ("[OPTIONS] PATH | URL | -", "files", ()),
    ("[OPTIONS] [SERVER]", "nothing", ()),
    ("[OPTIONS]", "nothing", ()),
    ("[OPTIONS] bash|zsh|fish", "nothing", ("bash", "zsh", "fish")),
    ("ls|prune [OPTIONS] NAME", "images", ("ls", "prune")),
])
def test_operands_are_what_the_usage_says(usage, kind, words):
    command = SimpleNamespace(USAGE=usage)
    assert (operands(command), fixed_words(command)) == (kind, words)


def test_every_spelling_of_a_command_is_a_path():
    paths = set(known_paths())
    assert {*COMMANDS, "image ls", "buildx", "bud"} <= paths and "/kaniko/executor" not in paths
    assert {"build", "image", "buildx"} <= set(groups()[""]) and "ls" in groups()["image"]


def test_names_of_images_come_without_making_a_store(tmp_path):
    """Pressing Tab changes nothing; what is damaged offers nothing."""
    root = tmp_path / "store"
    words = [sys.executable, "-m", "firkin", "completion", "--names", "--root", str(root)]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    assert subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout == ""
    assert not root.exists()
    (root / "oci").mkdir(parents=True)
    name = {"org.opencontainers.image.ref.name": "app:1"}
    for text, expected in (
        (json.dumps({"manifests": [{"annotations": name}, {"annotations": name}, {}, {"annotations": None}]}), ("app:1",)),
        (json.dumps({"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "app@sha256:0"}}]}), ()),
        ("{", ()), ("[]", ()), ('{"manifests": [1]}', ()), ('{"manifests": null}', ()), ("", ()),
    ):  # fmt: skip
        (root / "oci/index.json").write_text(text)
        assert names_in(str(root)) == expected
    (root / "oci/index.json").write_text(json.dumps({"manifests": [{"annotations": name}]}))
    assert subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout == "app:1\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_called_docker_the_script_is_for_that_name(shell, tmp_path):
    (tmp_path / "docker").symlink_to(firkin_program(tmp_path))
    script = subprocess.run([tmp_path / "docker", "completion", shell], capture_output=True, text=True, check=True).stdout
    assert "docker completion --names" in script and "firkin completion" not in script.replace("`firkin completion", "")
    assert script == SHELLS[shell](LOADED, "docker")


def firkin_program(place) -> str:
    path = place / "firkin"
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom firkin.cli.main import main\nsys.exit(main())\n")
    path.chmod(0o755)
    return str(path)

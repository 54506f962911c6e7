"""What shells offer after a word of a command line; each shell is asked itself."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from firkin.cli.command import load_command
from firkin.cli.commands import COMMANDS
from firkin.cli.completions import SHELLS, takes_images

LOADED = {name: (summary, load_command(module)) for name, (module, summary) in COMMANDS.items()}


@pytest.fixture
def environ(tmp_path):
    """Surroundings whose firkin knows two images."""
    names = tmp_path / "bin/firkin"
    names.parent.mkdir()
    names.write_text('#!/bin/sh\n[ "$*" = "images --names" ] && printf "app:1\\nregistry.lan:5000/app:2\\n"\n')
    names.chmod(0o755)
    (tmp_path / "empty").mkdir()
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


@pytest.mark.parametrize(("line", "expected"), [
    ("firkin bu", ["build"]),
    ("firkin build --ta", ["--tag", "--target"]),
    ("firkin build --progress pl", ["plain"]),
    ("firkin build --progress=pl", ["plain"]),
    ("firkin build --progress=", ["auto", "plain", "tty", "json", "rawjson", "quiet", "none"]),
    ("firkin rmi ap", ["app:1"]),
    ("firkin tag app:", ["1"]),
    ("firkin push registry.lan:5000/a", ["5000/app:2"]),
    ("firkin buildx ", ["b", "build", "du", "prune", "version"]),
    ("firkin image l", ["list", "ls"]),
    ("firkin buildx build --ta", ["--tag", "--target"]),
    ("firkin image rm ap", ["app:1"]),
    ("firkin image ls --no", ["--no-trunc"]),
])  # fmt: skip
def test_bash(scripts, environ, line, expected):
    assert offered_by_bash(scripts, environ, line) == expected


@pytest.mark.parametrize(("line", "expected"), [
    ("firkin bu", {"build"}),
    ("firkin build --ta", {"--tag", "--target"}),
    ("firkin build --progress pl", {"plain"}),
    ("firkin rmi ", {"app:1", "registry.lan:5000/app:2"}),
    ("firkin prune --older", {"--older-than"}),
    ("firkin buildx ", {"build", "b", "du", "prune", "version"}),
    ("firkin image l", {"list", "ls"}),
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
    ("firkin ", {"build", "check", "images", "prune"}),
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


def test_images_are_offered_where_a_command_takes_them():
    assert [name for name, (_, command) in LOADED.items() if takes_images(command)] == [
        "inspect", "tag", "rmi", "push", "save"]  # fmt: skip

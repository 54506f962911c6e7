"""The command table, help, and the pages made from the rows."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest
from support.places import REPOSITORY

from firkin.cli.arguments import parse_arguments
from firkin.cli.command import load_command
from firkin.cli.commands import COMMANDS
from firkin.cli.options import by_flag
from firkin.cli.reference import command_help, reference_page
from firkin.settings import KEYS

LOADED = {name: load_command(module) for name, (module, _) in COMMANDS.items()}


def firkin(*words: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firkin", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_version():
    result = firkin("--version")
    assert (result.returncode, result.stdout.split()[0], result.stderr) == (0, "firkin", "")
    assert f"Client: {result.stdout}" in firkin("version").stdout
    assert firkin("-v").stdout == result.stdout


def test_help_lists_every_command():
    result = firkin("--help")
    assert result.returncode == 0 and all(f"  {name} " in result.stdout for name in COMMANDS if " " not in name)
    bare = firkin()  # docker fails neither
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, "", result.stdout)
    assert firkin("help").stdout == result.stdout


@pytest.mark.parametrize(("words", "code", "message", "hint"), [
    (("biuld", "."), 1, "error: unknown command: firkin biuld", "did you mean `build`?"),
    (("--verson",), 125, "error: unknown option `--verson`", "did you mean `--version`?"),
    (("-t", "x", "."), 125, "error: unknown option `-t`", "--help` shows how it is used"),
    (("qqq",), 1, "error: unknown command: firkin qqq", "`firkin --help` lists the commands"),
    (("purne",), 1, "error: unknown command: firkin purne", "`firkin --help` lists the commands"),
    (("help", "biuld"), 1, "error: unknown command: firkin biuld", "did you mean `build`?"),
    (("image", "frob"), 1, "error: unknown command: firkin image frob", "`firkin image` has"),
    (("compose", "version"), 1, "error: firkin has no command `compose`", "firkin build"),
    (("image", "--frob"), 125, "error: unknown option `--frob` of `firkin image`", "options follow the command"),
])
def test_unknown_words(words, code, message, hint):
    """With docker's exit codes, and its words where nobody knows the word."""
    result = firkin(*words)
    assert result.returncode == code and result.stdout == ""
    assert result.stderr.startswith(message) and hint in result.stderr.partition("\nhint: ")[2]


def test_the_words_of_other_tools_are_explained_or_run(tmp_path):
    result = firkin("network", "create", "mine")
    assert (result.returncode, result.stdout) == (1, "") and "no networks of one's own yet" in result.stderr
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    store = ("--root", str(tmp_path / "store"))
    assert firkin("buildx", "build", *store, "-t", "app:1", str(context)).returncode == 0
    assert "app " in firkin("image", "ls", *store).stdout
    assert firkin("builder", "prune", "-af", *store).stdout.splitlines()[-1].startswith("Total:\t")
    assert firkin("image", "rm", *store, "app:1").stdout.startswith("Untagged: app:1\nDeleted: sha256:")
    group = firkin("image", "--help")
    assert group.returncode == 0 and "  ls " in group.stdout and "  rm " in group.stdout
    assert (firkin("image").returncode, firkin("image").stderr) == (0, group.stdout)
    assert firkin("help", "buildx", "build").stdout == firkin("build", "--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    text = command_help(name, LOADED[name])
    assert text.startswith(f"Usage:  firkin {name}") and "--help" in text
    assert firkin(*name.split(), "--help").stdout == text == firkin("help", *name.split()).stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(name):
    flags = {flag for row in LOADED[name].OPTIONS for flag in row.flags}
    assert {"--help", "--debug"} <= flags
    if name not in ("version", "completion"):
        assert "--root" in flags


def test_the_reference_page_is_up_to_date():
    page = (REPOSITORY / "docs/cli.md").read_text()
    assert page == reference_page(LOADED), "run `python -m firkin.cli.reference > docs/cli.md`"


def test_every_key_of_config_toml_is_described():
    page = (REPOSITORY / "docs/config.md").read_text()
    assert [key for key in KEYS if f"`{key}`" not in page] == []


def test_a_closed_pipe_is_no_traceback():
    command = [sys.executable, "-m", "firkin", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=30) in (0, 141)
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("words", [["--help"], ["version"], ["build", "--help"]])
def test_standard_output_that_takes_nothing_is_an_error_with_its_cause(words):
    command = [sys.executable, "-m", "firkin", *words]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert result.returncode not in (0, 70)
    assert result.stderr == "error: cannot write to standard output: no space left on device\n"


def test_closed_standard_descriptors_stay_closed(tmp_path):
    closed = subprocess.run(["sh", "-c", f"{sys.executable} -m firkin version >&-"], capture_output=True, text=True)
    assert closed.returncode == 1 and closed.stderr == "error: cannot write to standard output: bad file descriptor\n"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    script = f"{sys.executable} -m firkin build --root {tmp_path}/store --iidfile {tmp_path}/id {tmp_path} <&- 2>&-"
    silent = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, timeout=60)
    assert (silent.returncode, silent.stdout) == (0, "")
    assert (tmp_path / "id").read_text().startswith("sha256:")


PAGES = [path for part in ("*.md", "docs/**/*.md", "examples/**/*", "src/firkin/**/*.py")
         for path in sorted(REPOSITORY.glob(part)) if path.is_file() and path.name != "cli.md"]  # fmt: skip
# In backquotes, at the beginning of a line (of a listing), or after another command.
SHOWN = re.compile(rf"(?:`|^ *-? *(?:\.venv/bin/)?|&& )firkin ({'|'.join(COMMANDS)})(?![\w-])([^`\n\"']*)", re.MULTILINE)


def test_command_lines_that_are_shown_can_be_typed():
    shown = [line for path in PAGES for line in SHOWN.findall(path.read_text(errors="replace").replace("\\\n", " "))]
    assert len(shown) > 60
    for name, rest in shown:
        words = shlex.split(rest.replace("[", " ").replace("]", " "), comments=True)
        rows = LOADED[name].OPTIONS
        if name in ("executor", "warmer"):
            continue
        last = by_flag(rows).get(words[-1]) if words else None
        if last is not None and last.wants_value:  # only the option is spoken of
            words.append(last.choices[0] if last.choices else "1")
        parse_arguments(words, rows, {}, interspersed=getattr(LOADED[name], "INTERSPERSED", True))


@pytest.mark.parametrize(("words", "message"), [
    (("prune", "app:1"), "`firkin prune` takes options only, not `app:1`"),
    (("info", "x"), "`firkin info` takes options only"),
    (("version", "x"), "`firkin version` takes options only"),
    (("check", "a", "b"), "`firkin check` needs one context, 2 were given"),
    (("tag", "a", "b@sha256:" + "0" * 64), "has a digest"),
    (("images", "a", "b"), "`firkin images` takes one name"),
    (("cache", "ls", "--older-than=1h", "x"), "rules and `--dry-run` are for"),
    (("cache", "prune", "-q", "--older-than=1h", "x"), "`--quiet` is for"),
    (("manifest create", "x"), "`firkin manifest create` takes 2 or more names, not 1"),
    (("manifest annotate", "x"), "`firkin manifest annotate` takes 2 names, not 1"),
    (("manifest push", "x", "y"), "`firkin manifest push` takes 1 names, not 2"),
])  # fmt: skip
def test_words_that_would_do_nothing_are_refused(words, message, tmp_path):
    environ = {"PATH": "/usr/bin:/bin", "FIRKIN_ROOT": str(tmp_path / "store"), "HOME": str(tmp_path)}
    result = firkin(*words, env=environ)
    fine = getattr(LOADED[words[0]], "FINE_EXIT_CODES", False)
    assert result.returncode == (2 if fine else 1)
    assert result.stdout == "" and result.stderr.startswith("error: ")
    assert message in result.stderr


def test_installed_programs_have_names_of_their_own():
    """`executor` and `warmer` say nothing on a PATH; the image has them below /kaniko."""
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"firkin", "firkin-executor", "firkin-warmer"}
    for place in scripts.values():
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name))


def test_the_console_script_ends_as_the_interpreter_would() -> None:
    script = (
        "import atexit, sys, threading, time\n"
        "from firkin.cli.main import program\n"
        "def late():\n"
        "    time.sleep(0.2)\n"
        "    print('thread')\n"
        "atexit.register(print, 'exit function')\n"
        "threading.Thread(target=late).start()\n"
        "sys.argv = ['firkin', '--version']\n"
        "program()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["thread", "exit function"]


def test_the_console_script_has_the_exit_code_of_its_command() -> None:
    script = "import sys\nfrom firkin.cli.main import program\nsys.argv = ['firkin', 'nonsense']\nprogram()\n"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 1

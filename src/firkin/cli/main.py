"""The `firkin` command: `--version`, `--help`, and loading of commands. Does I/O. The console script imports it.

The interpreter has already loaded everything that this module imports, except the table of commands. So `firkin
--version` costs almost nothing. A command is loaded when it is called.
"""

import os
import sys

from firkin.cli.commands import COMMANDS

USAGE = "usage: firkin COMMAND [OPTIONS] [ARGUMENTS]"


def main() -> int:
    """Run the command of `sys.argv` and return the exit code."""
    _open_standard()
    words = sys.argv[1:]
    if not words:
        _write(2, command_list())
        return 2
    return _command([*words[1:], "--help"] if words[0] == "help" else words)


def _command(words: list[str]) -> int:
    name = words[0]
    if name in ("-v", "-V", "--version"):
        from firkin import __version__

        _write(1, f"firkin {__version__}\n")
        return 0
    if name in ("-h", "--help"):
        _write(1, command_list())
        return 0
    return _run(name, words[1:]) if name in COMMANDS else _elsewhere(words)


def command_list() -> str:
    """Return the text of `firkin --help`."""
    width = max(map(len, COMMANDS))
    lines = [
        "Build container images from Dockerfiles, with no daemon and no privileges.",
        "",
        USAGE,
        "",
        "commands:",
        *(f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()),
        "",
        "`firkin COMMAND --help` shows the options of a command, `firkin --version` the version.",
    ]
    return "\n".join(lines) + "\n"


def _open_standard() -> None:
    """Fill the numbers of closed standard descriptors; otherwise the next opened file would get one of them.

    Standard output stays unwritable, so that lost output is an error and not silent.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if descriptor == 1 else os.O_RDWR)


def _run(name: str, arguments: list[str]) -> int:
    from firkin.cli.run import run_command

    return run_command(name, COMMANDS[name][0], arguments)


def _elsewhere(words: list[str]) -> int:
    """Run the command that words of another tool mean, or say what to type instead."""
    from firkin.cli.elsewhere import translate
    from firkin.cli.run import run_guarded

    return run_guarded("firkin", lambda: _command(translate(words, COMMANDS)))


def _write(descriptor: int, text: str) -> None:
    """Write everything. An early end of the reader or a full disk gives no traceback."""
    data = text.encode()
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        sys.exit(f"error: cannot write to standard output: {(error.strerror or '').lower()}")

"""The `firkin` command: `--version`, `--help`, and the way to a command. Does I/O. The console script imports it.

Imports nothing but the table of commands that the interpreter has not loaded already, so that `firkin --version` costs
next to nothing. A command loads itself.
"""

import os
import sys

from firkin.cli.commands import COMMANDS

USAGE = "usage: firkin COMMAND [OPTIONS] [ARGUMENTS]"


def main() -> int:
    """Run the command that `sys.argv` asks for and return the exit code."""
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
    """Fill the places of closed standard descriptors, or the next file opened would be taken for one of them.

    Standard output stays unwritable, so that what it was to carry is not lost in silence.
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
    """Run what words of another tool mean here, or say what to type instead."""
    from firkin.cli.elsewhere import translate
    from firkin.cli.run import run_guarded

    return run_guarded("firkin", lambda: _command(translate(words, COMMANDS)))


def _write(descriptor: int, text: str) -> None:
    """Write all; a reader who left early is no error worth a traceback, nor is a full disk."""
    data = text.encode()
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        sys.exit(f"error: cannot write to standard output: {(error.strerror or '').lower()}")

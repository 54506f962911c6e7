"""The `firkin` command: `--version`, `--help`, and loading of commands. Does I/O. The console script imports it.

The interpreter has already loaded everything that this module imports, except the table of commands. So `firkin
--version` costs almost nothing. A command is loaded when it is called.
"""

import os
import sys

from firkin.cli.commands import COMMANDS, find_command, group_of

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
    found = find_command(words)
    return _run(*found) if found is not None else _group(words)


def _group(words: list[str]) -> int:
    """Show the commands of a group (`firkin image`, `firkin image --help`), or explain the words of another tool."""
    asked = words[-1] in ("-h", "--help")
    group = words[:-1] if asked else words
    listed = group_of(group)
    if not listed:
        return _elsewhere(words)
    _write(1 if asked else 2, _list_of(f"usage: firkin {' '.join(group)} COMMAND", listed))
    return 0 if asked else 2


def command_list() -> str:
    """Return the text of `firkin --help`."""
    listed = {name: summary for name, (_, summary) in COMMANDS.items() if " " not in name}
    return (
        "Build container images from Dockerfiles, with no daemon and no privileges.\n\n"
        f"{_list_of(USAGE, listed)}"
        "`firkin COMMAND --help` shows the options of a command, `firkin --version` the version.\n"
    )


def _list_of(usage: str, listed: dict[str, str]) -> str:
    width = max(map(len, listed))
    lines = (f"  {name:<{width}}  {summary}\n" for name, summary in listed.items())
    return f"{usage}\n\ncommands:\n{''.join(lines)}\n"


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
    """Say what to type instead of the words of another tool."""
    from firkin.cli.elsewhere import explain
    from firkin.cli.run import run_guarded

    return run_guarded("firkin", lambda: explain(words, COMMANDS))


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

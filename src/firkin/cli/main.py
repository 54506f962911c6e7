"""The `firkin` command: `--version`, `--help`, and loading of commands. Does I/O. The console script imports it.

The interpreter has already loaded everything that this module imports, except the table of commands. So `firkin
--version` costs almost nothing. A command is loaded when it is called.

Called by the name `docker`, e.g. by a link, it says so in its usage and in `--version`; all else is the same.
"""

import gc
import os
import sys

from firkin.cli.commands import COMMANDS, find_command, group_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_VERSION = ("-v", "-V", "--version")
_HELP = ("-h", "--help")
# New objects between two searches for garbage: loading modules makes fewer. Python's 700 cost a tenth of a command.
_GARBAGE = 50_000


def main() -> int:
    """Run the command of `sys.argv` and return the exit code. Mirrors: docker/cli cmd/docker."""
    gc.set_threshold(_GARBAGE)
    try:
        return _main()
    finally:
        gc.freeze()  # or the interpreter would search through everything once more when it ends


def program() -> "NoReturn":
    """Be the console script: run the command and end.

    The interpreter would take everything apart at its end, which takes as long as a tenth of a short command. So what
    has to happen then is done here: threads are waited for, exit functions called, what was written is flushed.
    """
    import atexit

    code = main()
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        sys.exit(code)  # which knows how to complain
    os._exit(code)


def _main() -> int:
    _open_standard()
    program = "docker" if sys.argv[0].rpartition("/")[2] == "docker" else "firkin"
    words = sys.argv[1:]
    if (words and words[0].startswith("-") and words[0] not in _VERSION + _HELP) or words[:1] == ["buildx"]:
        from firkin.cli.before import take_options

        taken = take_options(program, words)
        if isinstance(taken, int):
            return taken
        words = taken
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    if not words:
        return _listing(2, program)
    return _command(program, words)


def _command(program: str, words: list[str]) -> int:
    name = words[0]
    if name in _VERSION:
        _write(1, version_line(program))
        return 0
    if name in _HELP:
        return _listing(1, program)
    found = find_command(words)
    return _run(program, *found) if found is not None else _group(program, words)


def version_line(program: str) -> str:
    """Return what `--version` prints. Scripts take the version of the second or third word of docker's."""
    from firkin import __version__

    if program == "docker":
        from firkin.about.as_docker import ENGINE_VERSION

        return f"Docker version {ENGINE_VERSION}, build firkin-{__version__}\n"
    return f"firkin {__version__}\n"


def _group(program: str, words: list[str]) -> int:
    """Show the commands of a group (`firkin image`, `firkin image --help`), or explain the words of another tool."""
    asked = words[-1] in _HELP
    group = words[:-1] if asked else words
    return _listing(1 if asked else 2, program, group) if group_of(group) else _elsewhere(program, words)


def _listing(descriptor: int, program: str, group: list[str] | None = None) -> int:
    """List all commands or those of a group: on standard output when asked for, else on standard error."""
    from firkin.cli.help import command_list, group_list

    _write(descriptor, group_list(program, group) if group else command_list(program))
    return 0


def _open_standard() -> None:
    """Fill the numbers of closed standard descriptors; otherwise the next opened file would get one of them.

    Standard output stays unwritable, so that lost output is an error and not silent.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if descriptor == 1 else os.O_RDWR)


def _run(program: str, name: str, arguments: list[str]) -> int:
    from firkin.cli.lean_import import install

    install()
    if name == "run":  # the interpreter of the container's monitor starts while everything else is loaded
        from firkin.containers.link.monitoring import spawn_early

        spawn_early()
    from firkin.cli.run import run_command

    return run_command(name, COMMANDS[name][0], arguments, program)


def _elsewhere(program: str, words: list[str]) -> int:
    """Say what to type instead of the words of another tool."""
    from firkin.cli.elsewhere import explain
    from firkin.cli.run import dockers_exit_code, run_guarded

    return run_guarded(program, lambda: explain(words, COMMANDS, program), exit_code=dockers_exit_code)


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

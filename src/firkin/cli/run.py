"""Runs one command: arguments, settings, errors, exit code. Does I/O. Only `cli.main` may import it."""

from __future__ import annotations

import os
import sys
import time

from firkin.ambient import Ambient, text_environment
from firkin.cli import lean_msgspec  # noqa: F401  before anything imports msgspec
from firkin.cli.arguments import OPTION, parse_arguments
from firkin.cli.command import Invocation, load_command
from firkin.errors import FirkinError, HostError, InternalError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from firkin.hints import Texts
else:
    import _signal as signal  # `signal` itself takes 3 ms to load

_ORDINARY = range(1, 10)  # families of errors; what is left are a bug of firkin and the end by a signal


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Reported(Exception):
    """A FirkinError together with the source texts of the lines that it quotes."""

    def __init__(self, error: FirkinError, sources: tuple[object, ...]) -> None:
        super().__init__(str(error))
        self.error = error
        self.sources = sources


def run_command(name: str, module: str, words: list[str], program: str = "firkin") -> int:
    """Run a command and return its exit code; every error is printed here.

    `program` is the name that the command line was called by.
    """
    debug = bool(os.environ.get("FIRKIN_DEBUG"))
    fine = False

    def work() -> int:
        nonlocal fine, debug
        handle(_interrupt)  # until the command has a handler of its own
        command = load_command(module)
        fine = getattr(command, "FINE_EXIT_CODES", False)
        mixed = getattr(command, "INTERSPERSED", True)
        debug = debug or (mixed and ("--debug" in words or "-D" in words))
        main = getattr(command, "main", None)
        if main is not None and words not in (["--help"], ["-h"]):  # a program that parses its own arguments
            code: int = main(words)
            return code
        ambient = read_ambient()
        arguments = parse_arguments(words, command.OPTIONS, ambient.environ, interspersed=mixed)
        debug = debug or arguments.flag("debug")
        if arguments.flag("help"):
            from firkin.cli.reference import command_help

            write_out(command_help(name, command, program))
            return 0
        if arguments.operands and command.USAGE in ("", "[OPTIONS]"):
            raise UsageError(f"`{program} {name}` takes options only, not `{arguments.operands[0]}`")
        return command.run(Invocation(arguments, ambient))

    def exit_code(error: FirkinError) -> int:
        return error.exit_code if fine else dockers_exit_code(error)

    return run_guarded(f"{program} {name}", work, debug=lambda: debug, exit_code=exit_code)


def dockers_exit_code(error: FirkinError) -> int:
    """Return the exit code that docker has for such an error. Mirrors: docker/cli cmd/docker, cli.StatusError."""
    if error.exit_code not in _ORDINARY:
        return error.exit_code
    return 125 if isinstance(error, UsageError) and error.code == OPTION else 1


def handle(handler: Callable[[int, object], None]) -> None:
    """Call `handler` for the signals that ask a process to end, except ignored ones (`nohup`)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted(number)


def run_guarded(
    program: str,
    work: Callable[[], int],
    *,
    debug: Callable[[], bool] = lambda: False,
    exit_code: Callable[[FirkinError], int] = lambda error: error.exit_code,
    texts: Texts | None = None,
) -> int:
    """Do the work of a program and return its exit code; every error is printed here.

    Hints are in the words of `texts`, by default those of the command line.
    """

    def fail(error: FirkinError, sources: tuple[object, ...] = ()) -> int:
        from firkin.cli.hints import COMMAND_LINE

        error.put(texts or COMMAND_LINE)
        if program.partition(" ")[0] == "docker":
            _speak_as_docker(error)
        _report(error, sources, debug())
        return exit_code(error)

    try:
        return work()
    except Reported as reported:
        return fail(reported.error, reported.sources)
    except UsageError as error:
        if not error.hints:
            error.hints = (f"`{program} --help` shows how it is used",)
        return fail(error)
    except FirkinError as error:
        return fail(error)
    except Interrupted as interrupted:
        return 128 + interrupted.number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads any more: silence the interpreter's complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:  # noqa: BLE001  the top of the command line
        from firkin.worker.messages import error_of, failure_of

        return fail(error_of(failure_of(error)))


def _speak_as_docker(error: FirkinError) -> None:
    """Name commands as they were called: whoever types `docker` may have no `firkin` in the path."""
    error.message = error.message.replace("`firkin ", "`docker ")
    error.hints = tuple(hint.replace("`firkin ", "`docker ") for hint in error.hints if isinstance(hint, str))


def read_ambient() -> Ambient:
    """Read the surroundings of this process. Raises UsageError."""
    environ = text_environment(os.environ)
    home = environ.get("HOME", "")
    if not home:
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = "/"
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current directory does not exist any more") from None
    return Ambient(environ, cwd, home, os.geteuid(), time.time())


def write_out(text: str) -> None:
    """Write the whole text to standard output. Raises BrokenPipeError, HostError.

    Names, labels and templates contain what the makers of images wrote: on a terminal it cannot move the cursor.
    """
    try:
        write_all(1, _for_terminal(1, text))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HostError(f"cannot write to standard output: {(error.strerror or '').lower()}", code="stdout") from error


def write_message(text: str) -> None:
    """Write lines for people, which are no data, to standard error; on a terminal as `write_out` does."""
    write_all(2, _for_terminal(2, text))


def _for_terminal(descriptor: int, text: str) -> str:
    if not os.isatty(descriptor):
        return text
    from firkin.render.text import safe_lines

    return safe_lines(text)


def write_all(descriptor: int, text: str) -> None:
    """Write the whole text to a descriptor."""
    write_bytes(descriptor, text.encode("utf-8", "surrogateescape"))


def write_bytes(descriptor: int, data: bytes) -> None:
    """Write all bytes to a descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _report(error: FirkinError, sources: tuple[object, ...], debug: bool) -> None:
    from firkin.render.report import error_text

    texts: tuple[Source, ...] = ()
    if sources:
        from firkin.source import Source

        texts = tuple(source for source in sources if isinstance(source, Source))
    report = error_text(error, texts, terminal=os.isatty(2))
    if debug:
        trace = error.traceback if isinstance(error, InternalError) and error.traceback else ""
        if not trace:
            import traceback

            from firkin.text import hide_passwords

            trace = hide_passwords("".join(traceback.format_exception(error)))
        report = f"{trace.rstrip()}\n{report}"
    try:
        write_all(2, report + "\n")
    except OSError:
        return
    sys.stderr.flush()

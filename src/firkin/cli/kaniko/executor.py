"""The programs `executor` and `warmer`: Kaniko's command line over firkin's engine. Does I/O. Console scripts import
it.

Exit codes are Kaniko's: the exit code of a failed RUN command, 1 for any other error. docs/kaniko.md is the manual.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import cast

from firkin.ambient import Ambient
from firkin.builder.request import BuildRequest, BuildResult
from firkin.cli.kaniko.flags import FLAGS, Command, explain
from firkin.cli.kaniko.hints import EXECUTOR
from firkin.cli.kaniko.parse import Values, parse_words
from firkin.cli.run import Reported, read_ambient, run_guarded, write_out
from firkin.errors import Cancelled, FirkinError, StepFailed, UsageError
from firkin.render.logs import Level, LogRenderer, LogStyle

USAGES: dict[Command, str] = {
    "executor": "executor [FLAGS] · executor push|login|version ...",
    "warmer": "warmer --image NAME... [FLAGS]",
    "push": "executor push TAR|LAYOUT --destination NAME... [FLAGS]",
    "login": "executor login REGISTRY --username NAME --password-stdin",
}


def main() -> int:
    """Run the console script `firkin-executor`, and `/kaniko/executor` of the image."""
    return run_executor(sys.argv[1:])


def main_warmer() -> int:
    """Run the console script `firkin-warmer`, and `/kaniko/warmer` of the image."""
    return run_warmer(sys.argv[1:])


def run_executor(words: list[str]) -> int:
    """Run `executor` with these words and return its exit code."""
    return _run("executor", words, lambda ambient: executor_command(words, ambient))


def run_warmer(words: list[str]) -> int:
    """Run `warmer` with these words and return its exit code."""
    return _run("warmer", words, lambda ambient: _command("warmer", words, ambient))


def _run(program: str, words: list[str], work: Callable[[Ambient], int]) -> int:
    debug = "--debug" in words or bool(os.environ.get("FIRKIN_DEBUG"))
    return run_guarded(
        program, lambda: work(read_ambient()), debug=lambda: debug, exit_code=kaniko_exit_code, texts=EXECUTOR
    )


def kaniko_exit_code(error: FirkinError) -> int:
    """Return the exit code of a failed command, 128 + signal for a stopped build, otherwise 1."""
    return error.exit_code if isinstance(error, (StepFailed, Cancelled)) else 1


def executor_command(words: list[str], ambient: Ambient) -> int:
    """Run the subcommand that the words name, or a build."""
    name = words[0] if words else ""
    if name == "version":
        from firkin import __version__

        write_out(f"firkin {__version__}\n")
        return 0
    if name in ("push", "login"):
        return _command(cast(Command, name), words[1:], ambient)
    if name == "help":
        return _command("executor", ["--help"], ambient)
    return _command("executor", words, ambient)


def _command(name: Command, words: list[str], ambient: Ambient) -> int:
    flags = parse_words(words, FLAGS[name], ambient.environ)
    if flags.flag("explain-flags"):
        write_out(explain(name))
        return 0
    if flags.flag("help"):
        write_out(f"usage: {USAGES[name]}\n\n{explain(name)}")
        return 0
    log = LogRenderer(_style(flags), ambient.now_s)
    for flag in flags.deprecated:
        log.log("warning", f"Flag --{flag.name} has been deprecated, use --{flag.alias} instead", ambient.now_s)
    if name in ("executor", "warmer") and flags.words:
        raise UsageError(f"unknown command `{flags.words[0]}` for `{name}`",
                         hints=("booleans are written `--flag=true`, never `--flag true`",))  # fmt: skip
    match name:
        case "executor":
            return _build(flags, ambient, log)
        case "warmer":
            from firkin.cli.kaniko.warmer import warm

            return warm(flags, ambient, log)
        case "push":
            from firkin.cli.kaniko.push import push

            return push(flags, ambient, log)
        case "login":
            return _login(flags, ambient)


def _style(flags: Values) -> LogStyle:
    level = flags.text("verbosity")
    return LogStyle(
        flags.text("log-format"),  # type: ignore[arg-type]  # one of the flag's choices
        cast(Level, "warning" if level == "warn" else level),
        flags.flag("log-timestamp"),
    )


def _build(flags: Values, ambient: Ambient, log: LogRenderer) -> int:
    from firkin.cli.kaniko.request import executor_request

    for flag in flags.ignored:
        log.log("debug", f"Flag --{flag.name} has no effect: {flag.here}", ambient.now_s)
    request = executor_request(flags, ambient)
    if request.context == "-" and os.isatty(0):
        raise UsageError("no context on standard input: it is a terminal",
                         hints=("pipe it in: `tar -cz . | executor --context tar://stdin ...`",))  # fmt: skip
    result = build_image(request, log)
    if request.plan_only:
        write_out("".join(f"{vertex.title}\n" for vertex in log.plan))
        return 0
    from firkin.cli.kaniko.files import write_results

    write_results(flags, ambient, request, result)
    if flags.flag("no-push"):
        log.log("info", "Skipping push to container registry due to --no-push flag", time.time())
    return 0


def build_image(request: BuildRequest, log: LogRenderer) -> BuildResult:
    """Build the request in a worker; raises Reported."""
    from firkin.cli.front import build_in_worker

    ending, renderer = build_in_worker(request, lambda: log, EXECUTOR)
    if isinstance(ending, FirkinError):
        raise Reported(ending, renderer.sources())
    return ending


def _login(flags: Values, ambient: Ambient) -> int:
    """Store credentials in config.json, without asking the registry. Mirrors: crane auth login."""
    from firkin.registry.keychain import login

    if len(flags.words) != 1:
        raise UsageError("`executor login` takes one registry")
    username, password = flags.text("username"), flags.text("password")
    if flags.flag("password-stdin"):
        with open(0, "rb", closefd=False) as stream:
            password = stream.read(1 << 16).decode("utf-8", "surrogateescape")
        password = password.removesuffix("\n").removesuffix("\r")
    if not username or not password:
        raise UsageError("username and password required")
    environ = ambient.environ
    place = f"{(environ.get('DOCKER_CONFIG') or ambient.home + '/.docker').rstrip('/')}/config.json"
    try:
        where = login(place, flags.words[0], username, password, environ.get("PATH", ""), dict(environ))
    except OSError as error:
        raise UsageError(f"cannot write {place}: {(error.strerror or '').lower()}") from error
    write_out(f"logged in via {where}\n")
    return 0

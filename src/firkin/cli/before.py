"""Options before the command: `docker --config DIR images`. Does I/O. It sets variables of its own environment.

`cli.main` only, loaded only if there are such options. They travel as the environment variables that stand for them,
so that commands and workers find them where they look anyway. Mirrors: docker/cli cli/flags.ClientOptions, and
docker/buildx commands.NewRootCmd for what stands between `buildx` and its command.
"""

from __future__ import annotations

import os

from firkin.cli.arguments import OPTION, Arguments, parse_arguments
from firkin.cli.build_options import BUILD
from firkin.cli.options import Option, by_flag
from firkin.cli.run import dockers_exit_code, run_guarded
from firkin.errors import UsageError

_NO_DAEMON = "firkin has no daemon, so there is no connection to it"
_LEVELS = ("debug", "info", "warn", "error", "fatal")
ROWS = (
    Option(("--config",), "config", "text", "directory of docker's config.json", "DIR"),
    Option(("--root",), "root", "text", "keep images and cache in DIR", "DIR"),
    Option(("--context", "-c"), "context", "text", "only `default`: there is no daemon to choose", "NAME"),
    Option(("--debug", "-D"), "debug", "flag", "show tracebacks and what else helps to find a fault"),
    Option(("--host", "-H"), "host", "many", "only docker's default: there is no daemon to connect to", "SOCKET"),
    Option(("--log-level", "-l"), "level", "text", "`debug` is `--debug`; the others change nothing",
           "|".join(_LEVELS)),
    Option(("--tls",), "", "ignored", _NO_DAEMON, takes_value=False),
    Option(("--tlsverify",), "", "ignored", _NO_DAEMON, takes_value=False),
    Option(("--tlscacert",), "", "ignored", _NO_DAEMON),
    Option(("--tlscert",), "", "ignored", _NO_DAEMON),
    Option(("--tlskey",), "", "ignored", _NO_DAEMON),
    Option(("--version", "-v", "-V"), "version", "flag", "print the version"),
    Option(("--help", "-h"), "help", "flag", "list the commands"),
)  # fmt: skip
_OF_BUILDX = (by_flag(BUILD)["--builder"], *(row for row in ROWS if row.dest in ("debug", "help")))
_DEFAULT_HOSTS = ("", "unix://", "unix:///var/run/docker.sock", "unix:///run/docker.sock")
_NO_OTHER = "leave the option out: firkin works in its own process, and DOCKER_HOST is not read"


def take_options(program: str, words: list[str]) -> list[str] | int:
    """Apply the options before the command and return the words from the command on; an exit code ends the program."""
    rest: list[str] = []

    def work() -> int:
        left = words
        if left[0] != "buildx":
            arguments = parse_arguments(left, ROWS, {}, interspersed=False)
            _apply(arguments)
            left = _following(arguments)
        if left[:1] == ["buildx"]:
            arguments = parse_arguments(left[1:], _OF_BUILDX, {}, interspersed=False)
            _apply(arguments)
            left = ["buildx", *_following(arguments)]
        rest.extend(left)
        return 0

    return run_guarded(program, work, exit_code=dockers_exit_code) or rest


def _following(arguments: Arguments) -> list[str]:
    words = list(arguments.operands)
    if arguments.flag("version"):
        return ["--version"]
    return [*words, "--help"] if arguments.flag("help") else words


def _apply(arguments: Arguments) -> None:
    context = arguments.text("context")
    if context not in ("", "default"):
        raise UsageError(f"context not found: `{context}`", hints=(f"the only context is `default`; {_NO_OTHER}",))
    level = arguments.text("level")
    if level and level not in _LEVELS:
        raise UsageError(f"unable to parse logging level: {level}", hints=(f"it is one of {', '.join(_LEVELS)}",))
    for host in arguments.many("host"):
        if host.strip() not in _DEFAULT_HOSTS:
            raise UsageError(f"cannot connect to `{host}`: firkin has no daemon", code=OPTION, hints=(_NO_OTHER,))
    if arguments.given("config"):
        os.environ["DOCKER_CONFIG"] = arguments.text("config")
    if arguments.given("root"):
        os.environ["FIRKIN_ROOT"] = arguments.text("root")
    if arguments.flag("debug") or level == "debug":
        os.environ["FIRKIN_DEBUG"] = "1"

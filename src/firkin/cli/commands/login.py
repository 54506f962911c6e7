"""`firkin login`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os

from firkin.cli.arguments import Arguments
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.requests import registry_host, settings_of
from firkin.cli.run import write_out
from firkin.cli.store import say
from firkin.errors import UsageError
from firkin.linux.ending import watch
from firkin.registry.auth import IDENTITY_USER
from firkin.registry.keychain import login
from firkin.registry.login import MAX_SECRET_BYTES, check_login, check_stored, checked_pair, strip_line_end
from firkin.settings import Settings

USAGE = "[OPTIONS] [SERVER]"
ABOUT = (
    "Check credentials with a registry and keep them in config.json, or in the credential helper that it names, "
    "where docker finds them too. SERVER defaults to Docker Hub. Without a name and a password, those that are kept "
    "already are tried first."
)
OPTIONS = (
    Option(("--username", "-u"), "username", "text", "the user's name", "NAME"),
    Option(("--password", "-p"), "password", "text",
           "the password, for everybody on this machine to read; `-` reads it from standard input", "PASSWORD"),
    Option(("--password-stdin",), "password_stdin", "flag", "read the password from standard input", takes_value=False),
    *REGISTRY,
    *COMMON,
)  # fmt: skip
_NO_TERMINAL = "cannot perform an interactive login from a non-TTY device"


def run(invocation: Invocation) -> int:
    """Ask, check with the registry, store. Raises UsageError, RegistryError. Mirrors: docker/cli registry.runLogin."""
    arguments, ambient = invocation
    watch()
    host = registry_host(arguments, "login")
    settings = settings_of(arguments, ambient)
    if ambient.environ.get("DOCKER_AUTH_CONFIG", "").strip():
        say("warning: DOCKER_AUTH_CONFIG is set and takes precedence over what is kept here")
    username, secret = arguments.text("username"), _given_secret(arguments)
    if not arguments.given("username") and secret is None:
        username, works = check_stored(settings.registry, host)
        if username or works:
            say(f"Authenticating with existing credentials... [Username: {username}]")
        if works:
            write_out("Login Succeeded\n")
            return 0
        if username:
            say(f"warning: `{host}` does not accept the credentials that were kept")
    if secret is None or not (username or arguments.given("username")):
        username, secret = _ask(username, secret, default=not arguments.given("username"))
    checked_pair(username, secret)
    token = check_login(settings.registry, host, username, secret)
    _keep(settings, invocation, host, (IDENTITY_USER, token) if token else (username, secret))
    write_out("Login Succeeded\n")
    return 0


def _given_secret(arguments: Arguments) -> str | None:
    """Return the password of the options or of standard input, None if it must be asked for."""
    piped = arguments.flag("password_stdin") or arguments.text("password") == "-"
    if arguments.flag("password_stdin") and arguments.given("password"):
        raise UsageError("conflicting options: cannot specify both --password and --password-stdin")
    if not piped and not arguments.given("password"):
        return None
    if not piped:
        say("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
        return arguments.text("password")
    if not arguments.text("username"):
        raise UsageError("the --password-stdin option requires --username to be set")
    with open(0, "rb", closefd=False) as stream:
        data = stream.read(MAX_SECRET_BYTES + 1)
    if len(data) > MAX_SECRET_BYTES:
        raise UsageError(f"the password is longer than {MAX_SECRET_BYTES} bytes")
    return strip_line_end(data.decode("utf-8", "surrogateescape"))


def _ask(username: str, secret: str | None, *, default: bool) -> tuple[str, str]:
    """Ask for what is missing; `default` says that the user name is only a proposal."""
    import getpass

    if not os.isatty(0):
        raise UsageError(
            _NO_TERMINAL, hints=("pipe the password in: `firkin login -u NAME --password-stdin SERVER`",)
        )
    try:
        if default or not username:
            username = input(f"Username ({username}): " if username else "Username: ").strip() or username
        return username, getpass.getpass("Password: ") if secret is None else secret
    except EOFError:
        raise UsageError("no password was given") from None


def _keep(settings: Settings, invocation: Invocation, host: str, pair: tuple[str, str]) -> None:
    registry, environ = settings.registry, dict(invocation.ambient.environ)
    place = registry.auth_files[0]
    try:
        where = login(place, host, *pair, registry.helper_path, environ)
    except OSError as error:
        raise UsageError(f"cannot write {place}: {(error.strerror or '').lower()}") from error
    if where == place:
        say(f"WARNING! Your credentials are stored unencrypted in '{place}'.\n"
            "A credential helper (`credsStore` in that file) keeps them in a safer place.")  # fmt: skip

"""`firkin logout`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY
from firkin.cli.requests import registry_host, settings_of
from firkin.cli.store import say
from firkin.errors import UsageError
from firkin.linux.ending import watch
from firkin.registry.keychain import logout

USAGE = "[OPTIONS] [REGISTRY]"
ABOUT = "Forget the credentials for a registry. REGISTRY defaults to docker.io."
OPTIONS = REGISTRY + COMMON


def run(invocation: Invocation) -> int:
    """Remove the entry from the first config.json, and from its helper. Raises UsageError."""
    arguments, ambient = invocation
    watch()
    host = registry_host(arguments, "logout")
    settings = settings_of(arguments, ambient)
    place = settings.registry.auth_files[0]
    try:
        there = logout(place, host, settings.registry.helper_path, dict(ambient.environ))
    except OSError as error:
        raise UsageError(f"cannot write {place}: {(error.strerror or '').lower()}") from error
    say(f"removed the credentials for {host}" if there else f"there were no credentials for {host} in {place}")
    return 0

"""`firkin logout`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY
from firkin.cli.requests import registry_host, settings_of
from firkin.cli.run import write_out
from firkin.cli.store import say
from firkin.errors import UsageError
from firkin.linux.ending import watch
from firkin.registry.keychain import HUB_KEY, logout, normal_key

USAGE = "[OPTIONS] [SERVER]"
ABOUT = "Forget the credentials for a registry. SERVER defaults to Docker Hub."
OPTIONS = REGISTRY + COMMON


def run(invocation: Invocation) -> int:
    """Remove the entry from the first config.json, and from its helper. It is no error if there was none.

    Raises UsageError. Mirrors: docker/cli registry.runLogout.
    """
    arguments, ambient = invocation
    watch()
    host = registry_host(arguments, "logout")
    settings = settings_of(arguments, ambient)
    if ambient.environ.get("DOCKER_AUTH_CONFIG", "").strip():
        say("warning: DOCKER_AUTH_CONFIG is set, and stays in force")
    write_out(f"Removing login credentials for {HUB_KEY if normal_key(host) == 'docker.io' else host}\n")
    place = settings.registry.auth_files[0]
    try:
        logout(place, host, settings.registry.helper_path, dict(ambient.environ))
    except OSError as error:
        raise UsageError(f"cannot write {place}: {(error.strerror or '').lower()}") from error
    except UsageError as error:
        if error.code != "registry-helper":
            raise
        say(f"WARNING: could not erase credentials:\n{host}: {error.message}")
    return 0

"""Checks credentials with a registry: what a login does before it keeps them. Does I/O."""

from __future__ import annotations

import base64

import msgspec

from firkin.errors import RegistryError, UsageError
from firkin.registry.client import RegistryClient
from firkin.registry.keychain import HUB_KEY, Keychain, normal_key
from firkin.registry.settings import RegistrySettings

MAX_SECRET_BYTES = 64 * 1024


def check_login(settings: RegistrySettings, host: str, username: str, secret: str) -> str:
    """Ask a registry whether it accepts a user name and a password.

    Returns the identity token to keep in the place of the password, "" if the registry gives none. Raises
    RegistryError. Mirrors: moby registry.Service.Auth.
    """
    pair = base64.b64encode(f"{username}:{secret}".encode("utf-8", "surrogateescape")).decode()
    key = HUB_KEY if normal_key(host) == "docker.io" else host
    document = msgspec.json.encode({"auths": {key: {"auth": pair}}}).decode()
    trial = msgspec.structs.replace(settings, auth_files=(), auth_json=document, credential_helpers=())
    with RegistryClient(trial) as client:
        try:
            return client.log_in(host)
        except RegistryError as error:
            if error.status == 401:  # the hints would describe the document made above
                error.hints = (f"`{host}` does not know this user name and password",)
            raise


def check_stored(settings: RegistrySettings, host: str) -> tuple[str, bool]:
    """Try the credentials that are kept for a registry: return their user name and whether they still work.

    ("", False) if there are none. Raises RegistryError for any other trouble than a refusal.
    """
    stored = Keychain(settings).find(host)
    if stored is None:
        return "", False
    with RegistryClient(settings) as client:
        try:
            client.check_access(host)
        except RegistryError as error:
            if error.status not in (401, 403):
                raise
            return stored.username, False
    return stored.username, True


def strip_line_end(text: str) -> str:
    """Return a password as it was piped in: without the end of its line, and no more. Mirrors: docker/cli login."""
    return text.removesuffix("\n").removesuffix("\r")


def checked_pair(username: str, secret: str) -> None:
    """Raise UsageError if one of them is empty."""
    for what, value in (("username", username), ("password", secret)):
        if not value:
            raise UsageError(f"{what} is empty")

"""Which unit of systemd a call of `firkin service` means. Does I/O. `cli.commands` only."""

from __future__ import annotations

import sys

from firkin.ambient import store_root
from firkin.cli.command import Invocation
from firkin.cli.options import Option
from firkin.cli.requests import settings_of
from firkin.containers.service import Asked
from firkin.errors import HostError, UsageError
from firkin.linux.probe import user_name

USER = Option(
    ("--user",), "user", "flag", "in the systemd of this user (users other than root have no choice)", takes_value=False
)


def asked_of(invocation: Invocation) -> Asked:
    """Return what is meant: the store of this call, in the systemd of the machine, or of the user.

    Raises UsageError for operands, HostError if the user has no name.
    """
    arguments, ambient = invocation
    if arguments.operands:
        raise UsageError(f"this command takes no arguments, not `{arguments.operands[0]}`")
    root = settings_of(arguments, ambient).root
    # The unit has none of this call's variables.
    usual = store_root(ambient._replace(environ={}))
    words = (sys.executable, "-P", "-m", "firkin")
    name = user_name() if ambient.uid or arguments.flag("user") else ""
    if not name and (ambient.uid or arguments.flag("user")):
        raise HostError(f"the user with the id {ambient.uid} has no name, so systemd cannot be theirs", code="no-user")
    config = f"{ambient.home.rstrip('/')}/.config/systemd/user" if name else "/etc/systemd/system"
    return Asked(words, "" if root == usual else root, name, config, arguments.text("config"))

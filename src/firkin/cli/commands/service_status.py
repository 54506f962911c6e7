"""`firkin service status`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.cli.service import USER, asked_of
from firkin.containers.service import Report, report

USAGE = "[OPTIONS]"
ABOUT = "Show whether containers start with the machine. The exit code is 1 unless they do."
OPTIONS = (USER, *COMMON)
_WORDS = {True: "yes", False: "no"}


def run(invocation: Invocation) -> int:
    """Print what is there. Raises HostError where systemd is not there, UsageError."""
    asked = asked_of(invocation)
    found = report(asked)
    write_out(_text(found, asked.user))
    return 0 if found.installed and found.enabled == "enabled" and found.lingers is not False else 1


def _text(found: Report, user: str) -> str:
    lines = [("Unit", found.unit), ("File", found.path if found.installed else "none")]
    if found.installed and not found.current:
        lines.append(("Current", "no; `firkin service install` writes it anew"))
    lines += [("Enabled", found.enabled), ("State", found.state)]
    if found.lingers is not None:
        way = "" if found.lingers else f"; `loginctl enable-linger {user}`, as root"
        lines.append(("Lingers", _WORDS[found.lingers] + way))
    return "".join(f"{name + ':':<9} {value}\n" for name, value in lines)

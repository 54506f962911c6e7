"""The value of `--platform`; a part that is missing is this machine's. Does I/O. `cli.commands` only."""

from __future__ import annotations

from firkin.errors import UsageError
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform


def read_platform(text: str) -> Platform | None:
    """Return the platform that a text names, None for "". Raises UsageError."""
    try:
        return parse_platform(text, this_platform()) if text else None
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}", code="option") from error

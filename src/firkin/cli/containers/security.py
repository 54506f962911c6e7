"""`--security-opt`, with the profiles that it names. Does I/O. `cli.containers` only.

Mirrors: docker/cli cli/command/container parseSecurityOpts and parseSystemPaths.
"""

from __future__ import annotations

from typing import NamedTuple

from firkin.ambient import absolute
from firkin.cli.containers.values import wrong
from firkin.linux.files import read_named

_MOST_BYTES = 1 << 20
_UNCONFINED = "systempaths=unconfined"


class Security(NamedTuple):
    """Options as the engine takes them; the paths are None for the usual ones, () for none."""

    options: tuple[str, ...]
    masked_paths: tuple[str, ...] | None
    readonly_paths: tuple[str, ...] | None


def security(texts: tuple[str, ...], cwd: str) -> Security:
    """Return the options, with the text of a seccomp profile in place of its file. Raises UsageError."""
    options = tuple(_option(text, cwd) for text in texts if text != _UNCONFINED)
    paths = () if _UNCONFINED in texts else None
    return Security(options, paths, paths)


def _option(text: str, cwd: str) -> str:
    key, equals, value = text.partition("=")
    if not equals and text != "no-new-privileges":
        key, colon, value = text.partition(":")
        if not colon:
            raise wrong(f'Invalid --security-opt: "{text}"')
    if key != "seccomp" or value in ("unconfined", "builtin"):
        return text
    try:
        raw = read_named(absolute(cwd, value), _MOST_BYTES)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise wrong(f"opening seccomp profile ({value}) failed: open {value}: {why}") from error
    return f"seccomp={_compact(raw, value)}"


def _compact(raw: bytes, path: str) -> str:
    import msgspec

    try:
        return msgspec.json.format(raw, indent=-1).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(f"compacting json for seccomp profile ({path}) failed: {error}") from error

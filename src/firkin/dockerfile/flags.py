"""Flags of instructions (`--name=value`) and the grammar of RUN --mount. Pure.

Mirrors: buildkit frontend/dockerfile/instructions/bflag.go and commands_runmount.go. Anybody in
`dockerfile/` may import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from firkin.dockerfile.lines import RawInstruction
from firkin.source import Span


class FlagSpec(msgspec.Struct, frozen=True):
    """A flag that an instruction knows."""

    name: str
    kind: Literal["str", "bool", "list"] = "str"


class Flags(msgspec.Struct, frozen=True):
    """The flags given; each getter returns its empty value where the flag was not."""

    values: dict[str, tuple[str, ...]]

    def text(self, name: str) -> str:
        """Return a `str` flag's value, "" where it was not given."""
        raise NotImplementedError

    def bool(self, name: str) -> bool:
        """Return a `bool` flag's value."""
        raise NotImplementedError

    def list(self, name: str) -> tuple[str, ...]:
        """Return a `list` flag's values."""
        raise NotImplementedError

    def given(self, name: str) -> bool:
        """Say whether the flag was written."""
        raise NotImplementedError


def parse_flags(raw: RawInstruction, specs: tuple[FlagSpec, ...] = ()) -> Flags:
    """Check and collect the flags; raises DockerfileError at the instruction."""
    raise NotImplementedError


MountType = Literal["bind", "cache", "tmpfs", "secret", "ssh"]


class MountSpec(msgspec.Struct, frozen=True):
    """One --mount, expanded and checked; `from_`, `id`, `source`, `target` are "" where not given.

    `mode`, `uid`, `gid` are None where not given; `sharing` is "" then.
    """

    type: MountType = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    id: str = ""
    env: str | None = None
    readonly: bool = True
    required: bool = False
    sharing: Literal["", "shared", "private", "locked"] = ""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size_bytes: int = 0


def check_mount(text: str, span: Span) -> None:
    """Check what can be checked before expansion: CSV syntax, no variable in `from`. Raises DockerfileError."""
    raise NotImplementedError


def parse_mount(text: str, expand: Callable[[str], str], span: Span) -> MountSpec:
    """Parse one --mount value, expanding its values; raises DockerfileError at `span`."""
    raise NotImplementedError

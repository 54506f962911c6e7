"""MAINTAINER: the author (deprecated). Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.errors import DockerfileError


class Maintainer(Instruction, frozen=True):
    """MAINTAINER: the text of the line, never expanded."""

    name: str


def parse(raw: RawInstruction) -> Maintainer:
    """Parse `MAINTAINER NAME`; raises DockerfileError."""
    if not raw.rest:
        raise DockerfileError("MAINTAINER requires exactly one argument", span=raw.span)
    parse_flags(raw)
    return Maintainer(raw, raw.rest)


def lower(node: Maintainer, state: StageState, context: LowerContext) -> None:
    """Set the image's author."""
    state.author = node.name
    state.record(f"MAINTAINER {node.name}")

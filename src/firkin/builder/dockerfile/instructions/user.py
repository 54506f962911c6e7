"""USER: the user of later RUN commands and of the container. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.errors import DockerfileError


class User(Instruction, frozen=True):
    """USER: `name[:group]`, unexpanded."""

    user: str


def parse(raw: RawInstruction) -> User:
    """Parse `USER NAME[:GROUP]`; raises DockerfileError."""
    if not raw.rest:
        raise DockerfileError("USER requires exactly one argument", span=raw.span)
    parse_flags(raw)
    return User(raw, raw.rest)


def lower(node: User, state: StageState, context: LowerContext) -> None:
    """Set the user; only a later RUN or container checks whether the image knows it."""
    state.user = state.expand(node.user, node.span, context)
    state.record(f"USER {state.user}")

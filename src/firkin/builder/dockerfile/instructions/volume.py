"""VOLUME: directories that containers keep outside their root. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.gotext import clean_path, plain_list
from firkin.builder.dockerfile.instructions.commandline import parse_list
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.graph.ops import MakeDir
from firkin.errors import DockerfileError

_EMPTY = "VOLUME specified can not be an empty string"


class Volume(Instruction, frozen=True):
    """VOLUME: paths, unexpanded."""

    paths: tuple[str, ...]


def parse(raw: RawInstruction) -> Volume:
    """Parse `VOLUME PATH...` or a JSON array; raises DockerfileError."""
    words = parse_list(raw.rest, raw.span)
    if not words:
        raise DockerfileError("VOLUME requires at least one argument", span=raw.span)
    parse_flags(raw)
    paths = tuple(word.strip() for word in words)
    if not all(paths):
        raise DockerfileError(_EMPTY, span=raw.span)
    return Volume(raw, paths)


def lower(node: Volume, state: StageState, context: LowerContext) -> None:
    """Add the volumes; only Kaniko's dialect makes the directories. Raises DockerfileError."""
    paths = [state.expand(path, node.span, context) for path in node.paths]
    if not all(paths):
        raise DockerfileError(_EMPTY, span=node.span)
    state.volumes.update(dict.fromkeys(paths))
    if context.options.dialect.make_volumes:
        for path in paths:
            place = clean_path(f"/{path}")
            if place != "/":
                state.add_step(MakeDir(place, ""), (), f"VOLUME {path}", node.text, node.span, context)
            state.record(f"VOLUME {plain_list([path])}", layer=place != "/")
        return
    state.record(f"VOLUME {plain_list(paths)}")

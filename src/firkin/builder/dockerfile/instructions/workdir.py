"""WORKDIR: the directory that relative paths start from. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.gotext import clean_path
from firkin.builder.dockerfile.instructions.transfer import check_path
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.dockerfile.words import quote
from firkin.builder.graph.ops import MakeDir
from firkin.errors import DockerfileError


class Workdir(Instruction, frozen=True):
    """WORKDIR: the path, unexpanded."""

    path: str


def parse(raw: RawInstruction) -> Workdir:
    """Parse `WORKDIR PATH`; blanks belong to the path. Raises DockerfileError."""
    if not raw.rest:
        raise DockerfileError("WORKDIR requires exactly one argument", span=raw.span)
    parse_flags(raw)
    return Workdir(raw, raw.rest)


def lower(node: Workdir, state: StageState, context: LowerContext) -> None:
    """Change the directory and make it. Mirrors: dispatchWorkdir, system.NormalizePath.

    The image has an absolute path as it was written; a relative path is joined and cleaned.
    """
    path = state.expand(node.path, node.span, context)
    check_path(path, node.span)
    if not state.workdir_set and not path.startswith("/"):
        context.warn(
            "WorkdirRelativePath",
            f"Relative workdir {quote(path)} can have unexpected results if the base image changes",
            node.span,
        )
    state.workdir_set = True
    if not path:
        path = state.working_dir or "/"
    elif not path.startswith("/"):
        path = clean_path(f"{state.working_dir}/{path}")
    state.working_dir = path
    if path != "/":
        title = state.title_of(node.text.strip(), context)
        state.add_step(MakeDir(clean_path(path), state.user), (), title, node.text, node.span, context)
    state.record(f"WORKDIR {path}", layer=path != "/")

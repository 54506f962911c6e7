"""COPY: files of the context, a stage or an image. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import FlagSpec, parse_flags
from firkin.builder.dockerfile.giturl import parse_git_url
from firkin.builder.dockerfile.gotext import base_name
from firkin.builder.dockerfile.instructions.transfer import (
    Transfer,
    destination_path,
    expand_transfer,
    make_transfer,
    path_source,
)
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.dockerfile.words import quote
from firkin.builder.graph.ops import Copy as CopyOp
from firkin.builder.graph.ops import CopySource, TextSource
from firkin.builder.graph.step import StepId
from firkin.errors import DockerfileError
from firkin.text import hide_passwords

_FLAGS = (
    FlagSpec("chown"),
    FlagSpec("from"),
    FlagSpec("chmod"),
    FlagSpec("link", "bool"),
    FlagSpec("parents", "bool"),
    FlagSpec("exclude", "list"),
)


class Copy(Instruction, frozen=True):
    """COPY: `from_` as written ("": the context)."""

    transfer: Transfer
    from_: str = ""
    parents: bool = False


def parse(raw: RawInstruction) -> Copy:
    """Parse `COPY [FLAGS] SOURCE... DESTINATION`, as words or a JSON array; raises DockerfileError."""
    flags = parse_flags(raw, _FLAGS)
    return Copy(raw, make_transfer(raw, "COPY", flags), flags.text("from"), flags.bool("parents"))


def lower(node: Copy, state: StageState, context: LowerContext) -> None:
    """Emit the copy as one step and layer. Raises DockerfileError."""
    transfer = expand_transfer(node.transfer, node.span, state, context)
    inputs: tuple[StepId, ...] = ()
    keep_owner = False
    if node.from_:
        source = state.sources[0] if state.sources else None
        if source is None or source.step is None:
            raise DockerfileError(
                f"cannot copy from stage {quote(node.from_)}, it needs to be defined before current stage "
                f"{quote(state.name)}",
                span=node.span,
            )
        inputs, keep_owner = (source.step,), source.is_image
    elif transfer.paths:
        inputs = (context.main_context(state.platform),)
    for path in transfer.paths:
        _refuse_url(path, node)
    sources: list[CopySource] = [path_source(path, 1, node.parents) for path in transfer.paths]
    sources += [TextSource(base_name(heredoc.name), heredoc.content) for heredoc in transfer.heredocs]
    op = CopyOp(
        tuple(sources),
        destination_path(transfer.destination, state.working_dir),
        transfer.chown,
        transfer.chmod,
        keep_owner,
        # BuildKit ignores --link if --chmod is given
        link=transfer.link and not transfer.chmod,
        parents=node.parents,
        exclude=transfer.exclude,
    )
    title = state.title_of(node.text.strip(), context)
    state.add_step(op, inputs, title, node.text, node.span, context)
    record(state, "COPY", transfer, node.parents)


def _refuse_url(path: str, node: Copy) -> None:
    try:
        git = parse_git_url(path)
    except ValueError as error:
        raise DockerfileError(str(error), span=node.span) from None
    hints = ("ADD takes URLs and git repositories",)
    if git is not None and not git.looks_local:
        raise DockerfileError("source can't be a git ref for COPY", hints=hints, span=node.span)
    if path.startswith(("http://", "https://")):
        raise DockerfileError("source can't be a URL for COPY", hints=hints, span=node.span)


def record(state: StageState, keyword: str, transfer: Transfer, parents: bool = False) -> None:
    """Add the line of history for COPY or ADD."""
    words = [keyword]
    if parents:
        words.append("--parents")
    if transfer.chown:
        words.append(f"--chown={transfer.chown}")
    if transfer.chmod:
        words.append(f"--chmod={transfer.chmod}")
    words += map(hide_passwords, transfer.paths)
    words += (f"<<{heredoc.name}" for heredoc in transfer.heredocs)
    state.record(f"{' '.join(words)} {transfer.destination} # buildkit", layer=True)



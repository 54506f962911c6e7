"""ADD: files of the context (local archives unpacked), of URLs and of git repositories. Pure."""

from __future__ import annotations

from typing import Literal

from firkin.builder.dockerfile.flags import FlagSpec, parse_flags
from firkin.builder.dockerfile.giturl import GitUrl, parse_git_url
from firkin.builder.dockerfile.gotext import base_name
from firkin.builder.dockerfile.instructions.copy import record
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
from firkin.builder.graph.ops import CopySource, FileSource, Git, Http, TextSource
from firkin.builder.graph.step import StepId, StepMeta
from firkin.errors import DockerfileError
from firkin.oci.digest import parse_digest

_FLAGS = (
    FlagSpec("chown"),
    FlagSpec("chmod"),
    FlagSpec("link", "bool"),
    FlagSpec("keep-git-dir", "bool"),
    FlagSpec("checksum"),
    FlagSpec("unpack", "bool"),
    FlagSpec("exclude", "list"),
)


class Add(Instruction, frozen=True):
    """ADD: `keep_git_dir` and `unpack` are None where the flag was not written."""

    transfer: Transfer
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


def parse(raw: RawInstruction) -> Add:
    """Parse `ADD [FLAGS] SOURCE... DESTINATION`, as words or a JSON array; raises DockerfileError."""
    flags = parse_flags(raw, _FLAGS)
    return Add(
        raw,
        make_transfer(raw, "ADD", flags),
        flags.text("checksum"),
        flags.bool("keep-git-dir") if flags.given("keep-git-dir") else None,
        flags.bool("unpack") if flags.given("unpack") else None,
    )


def lower(node: Add, state: StageState, context: LowerContext) -> None:
    """Emit a step for each remote source, and the copy as one step and layer."""
    transfer = expand_transfer(node.transfer, node.span, state, context)
    checksum = state.expand(node.checksum, node.span, context)
    if checksum:
        _check_checksum(node, transfer, checksum)
    title = state.title_of(node.text.strip(), context)
    inputs: list[StepId] = []
    sources: list[CopySource] = []
    local = -1
    for path in transfer.paths:
        git = _git_url(path, node)
        if git is not None or _is_http(path):
            op = _git(git, node, checksum) if git is not None else Http(path, _file_name(path, node), checksum)
            meta = StepMeta(title, state.name, span=node.span, no_cache=state.no_cache, platform=state.platform)
            inputs.append(context.builder.add(op, (), meta))
            sources.append(FileSource(len(inputs)))
            continue
        if local < 0:
            inputs.append(context.main_context(state.platform))
            local = len(inputs)
        sources.append(path_source(path, local, parents=False))
    sources += (TextSource(base_name(heredoc.name), heredoc.content) for heredoc in transfer.heredocs)
    unpack: Literal["auto", "always", "never"] = "auto"
    if node.unpack is not None:
        unpack = "always" if node.unpack else "never"
    op_copy = CopyOp(
        tuple(sources),
        destination_path(transfer.destination, state.working_dir),
        transfer.chown,
        transfer.chmod,
        unpack=unpack,
        link=transfer.link and not transfer.chmod,
        exclude=transfer.exclude,
    )
    state.add_step(op_copy, tuple(inputs), title, node.text, node.span, context)
    record(state, "ADD", transfer)


def _check_checksum(node: Add, transfer: Transfer, checksum: str) -> None:
    if len(transfer.paths) != 1:
        raise DockerfileError("checksum can't be specified for multiple sources", span=node.span)
    path = transfer.paths[0]
    if _git_url(path, node) is not None:
        return
    if not _is_http(path):
        raise DockerfileError("checksum requires HTTP(S) or Git sources", span=node.span)
    try:
        parse_digest(checksum)
    except ValueError as error:
        raise DockerfileError(f"invalid checksum: {error}", span=node.span) from None


def _is_http(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def _git_url(path: str, node: Add) -> GitUrl | None:
    try:
        url = parse_git_url(path, known_git=node.keep_git_dir is not None)
    except ValueError as error:
        raise DockerfileError(str(error), span=node.span) from None
    return None if url is None or url.looks_local else url


def _git(url: GitUrl, node: Add, checksum: str) -> Git:
    keep = node.keep_git_dir
    if keep is not None and url.keep_git_dir is not None and keep != url.keep_git_dir:
        raise DockerfileError("inconsistent keep-git-dir configuration", span=node.span)
    if checksum and url.checksum and checksum != url.checksum:
        raise DockerfileError(f"checksum mismatch {quote(checksum)} != {quote(url.checksum)}", span=node.span)
    return Git(
        url.remote,
        url.ref,
        url.subdir,
        keep_git_dir=bool(keep or url.keep_git_dir),
        checksum=url.checksum or checksum,
        submodules=url.submodules is not False,
    )


def _file_name(url: str, node: Add) -> str:
    """Return the last part of a URL's path, the file's name in a directory. Raises DockerfileError."""
    from urllib.parse import unquote

    rest = url.partition("://")[2].partition("#")[0].partition("?")[0]
    name = base_name(unquote(rest.partition("/")[2]))
    if name == ".." or "\0" in name:
        raise DockerfileError(
            f"no file can have the name that {quote(url)} ends with",
            hints=("write the URL without it",),
            span=node.span,
        )
    return "__unnamed__" if name in (".", "/") else name

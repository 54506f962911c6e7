"""The common part of COPY and ADD: sources, destination, ownership and modes. Pure.

Mirrors: buildkit dockerfile2llb convert_copy.go (dispatchCopy).
"""

from __future__ import annotations

import msgspec

from firkin.builder.dockerfile.flags import Flags
from firkin.builder.dockerfile.gotext import clean_path
from firkin.builder.dockerfile.instructions.commandline import parse_list
from firkin.builder.dockerfile.lines import Heredoc, RawInstruction, parse_heredoc
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.words import Lexer, quote
from firkin.builder.graph.ops import PathSource
from firkin.errors import DockerfileError
from firkin.source import Span

_HEREDOC_LEXER = Lexer("\\", skip_process_quotes=True)
_DIGITS = frozenset("0123456789")
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # Linux: NAME_MAX, and PATH_MAX less its NUL


class Transfer(msgspec.Struct, frozen=True):
    """Paths, heredocs and destination as written, and the flags that COPY and ADD share."""

    paths: tuple[str, ...]
    heredocs: tuple[Heredoc, ...]
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


def parse_transfer(raw: RawInstruction, keyword: str) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    """Return paths, heredocs and destination; raises DockerfileError. Mirrors: parseSourcesAndDest."""
    words = parse_list(raw.rest, raw.span)
    if len(words) < 2:
        raise DockerfileError(
            f"{keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined",
            span=raw.span,
        )
    *sources, destination = words
    if _heredoc(destination, raw.span) is not None:
        raise DockerfileError(f"{keyword} cannot accept a heredoc as a destination", span=raw.span)
    bodies = {heredoc.name: heredoc for heredoc in raw.heredocs}
    paths: list[str] = []
    heredocs: list[Heredoc] = []
    for word in sources:
        heredoc = _heredoc(word, raw.span)
        if heredoc is None:
            paths.append(word)
        else:
            body = bodies.get(heredoc.name, heredoc)
            heredocs.append(msgspec.structs.replace(heredoc, content=body.content))
    return tuple(paths), tuple(heredocs), destination


def _heredoc(word: str, span: Span) -> Heredoc | None:
    try:
        return parse_heredoc(word)
    except ValueError as error:
        raise DockerfileError(str(error), span=span) from None


def make_transfer(raw: RawInstruction, keyword: str, flags: Flags) -> Transfer:
    """Parse the common part of COPY and ADD; raises DockerfileError."""
    paths, heredocs, destination = parse_transfer(raw, keyword)
    return Transfer(
        paths,
        heredocs,
        destination,
        flags.text("chown"),
        flags.text("chmod"),
        flags.bool("link"),
        flags.list("exclude"),
    )


def expand_transfer(transfer: Transfer, span: Span, state: StageState, context: LowerContext) -> Transfer:
    """Expand variables in words and in heredocs whose word was not quoted; remove the tabs of `<<-`."""
    heredocs = []
    for heredoc in transfer.heredocs:
        content = heredoc.body
        if heredoc.expand:
            content = state.expand(content, span, context, _HEREDOC_LEXER)
        check_path(heredoc.name, span, names_file=True)
        heredocs.append(msgspec.structs.replace(heredoc, content=content))
    paths = tuple(state.expand(path, span, context) for path in transfer.paths)
    destination = state.expand(transfer.destination, span, context)
    for path in (*paths, destination):
        check_path(path, span)
    chmod = state.expand(transfer.chmod, span, context)
    check_chmod(chmod, span)
    return msgspec.structs.replace(
        transfer,
        paths=paths,
        heredocs=tuple(heredocs),
        destination=destination,
        chown=state.expand(transfer.chown, span, context),
        chmod=chmod,
    )


def check_path(text: str, span: Span, *, names_file: bool = False) -> None:
    """Refuse an invalid path; with `names_file` also one that is not a plain file name.

    Raises DockerfileError.
    """
    data = text.encode("utf-8", "surrogateescape")
    longest = max(map(len, data.split(b"/")))
    why = ""
    if b"\0" in data:
        why = "has a NUL character"
    elif (longest > _LONGEST_NAME or len(data) > _LONGEST_PATH) and "://" not in text:
        why = f"is too long: a name has up to {_LONGEST_NAME} bytes, a path {_LONGEST_PATH}"
    elif names_file and (clean_path("/" + text) == "/" or "/" in clean_path("/" + text)[1:]):
        why = "cannot be the name of a file"
    if why:
        shown = text if len(text) < 80 else text[:40] + "…"
        raise DockerfileError(f"{quote(shown)} {why}", hints=("use another name",), span=span)


def destination_path(text: str, working_dir: str) -> str:
    """Return the absolute path of a destination; a slash (or `/.`) at its end is kept as a slash.

    Mirrors: pathRelativeToWorkingDir.
    """
    if text in ("", "."):
        text = "./"
    path = clean_path(text if text.startswith("/") else f"{working_dir}/{text}")
    if text.endswith(("/", "/.")) and path != "/":
        path += "/"
    return path


def path_source(path: str, number: int, parents: bool) -> PathSource:
    """Return a source below input `number`; `..` stops at the input's root.

    With --parents, `/./` ends the part that is not repeated below the destination.
    """
    wildcard = has_wildcards(path)
    pivot = 0
    if parents:
        before, separator, after = path.partition("/./")
        if separator:
            parent = clean_path(before)
            pivot = parent.count("/") if parent != "/" else 0
            path = parent + clean_path(after)
    return PathSource(number, clean_path(path), wildcard=wildcard, pivot=pivot)


def has_wildcards(path: str) -> bool:
    """Say whether a path has `*`, `?` or `[` that is not escaped."""
    position = 0
    while position < len(path):
        if path[position] in "*?[":
            return True
        position += 2 if path[position] == "\\" else 1
    return False


def check_chmod(text: str, span: Span) -> None:
    """Check that a mode is octal up to 07777 or symbolic (`u=rwX,go-w`); raises DockerfileError."""
    if not text:
        return
    if _DIGITS.issuperset(text) and "8" not in text and "9" not in text and int(text, 8) <= 0o7777:
        return
    if text[0] not in _DIGITS and all(_is_clause(clause) for clause in text.split(",")):
        return
    raise DockerfileError(
        f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
        hints=("symbolic modes look like `u=rwX,go=rX`",),
        span=span,
    )


def _is_clause(clause: str) -> bool:
    rest = clause.lstrip("ugoa")
    if not rest:
        return False
    while rest:
        if rest[0] not in "+-=":
            return False
        rest = rest[1:].lstrip("rwxXstugo")
    return True

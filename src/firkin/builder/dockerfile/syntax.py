"""The syntax tree: a Dockerfile, its stages and instructions, with variables unexpanded. Pure.

Every keyword has its own node in `instructions/`, a frozen struct that extends Instruction. Only the
two that shape the tree itself, FROM and ARG, are defined here. Anybody in `dockerfile/` may import it.
"""

from __future__ import annotations

import msgspec

from firkin.builder.dockerfile.lines import Directives, ParseWarning, RawInstruction
from firkin.source import Source, Span


class Instruction(msgspec.Struct, frozen=True):
    """One instruction as written; `raw` is the logical line."""

    raw: RawInstruction

    @property
    def keyword(self) -> str:
        """The keyword in lower case."""
        return self.raw.keyword

    @property
    def span(self) -> Span:
        """The lines of the instruction, heredocs included."""
        return self.raw.span

    @property
    def text(self) -> str:
        """The whole logical line, continuations joined, without heredoc bodies."""
        return self.raw.text


class From(Instruction, frozen=True):
    """FROM: `image` and `platform` unexpanded; `name` lower-cased ("": none), `written_name` as written."""

    image: str
    name: str = ""
    platform: str = ""
    written_name: str = ""


class ArgItem(msgspec.Struct, frozen=True):
    """One declaration of ARG; `default` None: none given. Both unexpanded, quotes kept in `default`."""

    name: str
    default: str | None = None


class Arg(Instruction, frozen=True):
    """ARG, in a stage or before the first FROM."""

    items: tuple[ArgItem, ...]


class Stage(msgspec.Struct, frozen=True):
    """A build stage: FROM and what follows; `index` counts from 0, `span` covers all of it."""

    name: str
    base: From
    instructions: tuple[Instruction, ...]
    span: Span
    index: int


class Dockerfile(msgspec.Struct, frozen=True):
    """A parsed file with at least one stage; `args` are those before the first FROM."""

    source: Source
    directives: Directives
    args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    warnings: tuple[ParseWarning, ...] = ()

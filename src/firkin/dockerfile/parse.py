"""The driver: logical lines to a syntax tree, over the table of instructions. Pure."""

from __future__ import annotations

from firkin.dockerfile.syntax import Dockerfile, Instruction
from firkin.source import Source, Span


def parse(source: Source) -> Dockerfile:
    """Parse a Dockerfile; raises DockerfileError with a position. Mirrors: instructions.Parse."""
    raise NotImplementedError


def parse_onbuild(text: str, span: Span, escape: str = "\\") -> Instruction:
    """Parse an ONBUILD trigger of a base image; its span is that of the FROM that runs it."""
    raise NotImplementedError

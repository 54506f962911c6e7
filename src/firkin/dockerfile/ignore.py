""".dockerignore: reading and matching. Pure; context and solve's copying may import it.

Mirrors: moby/patternmatcher (MatchesUsingParentResults) and its ignorefile.ReadAll.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NewType

ParentState = NewType("ParentState", int)
"""Which patterns matched a directory (a bit for each): what its children inherit."""

ROOT = ParentState(0)


def read_ignore(text: str) -> tuple[str, ...]:
    """Return the cleaned patterns of a .dockerignore. Mirrors: ignorefile.ReadAll."""
    raise NotImplementedError


class IgnoreMatcher:
    """Decides path by path, parents first, what is left out.

    A walker keeps the state that `match` gave for a directory and passes it on for its children:

        ignored, state = matcher.match("a/b", parent_state)
        if ignored and not matcher.may_reinclude("a/b"): do not descend
    """

    __slots__ = ()

    def __init__(self, patterns: Iterable[str]) -> None:
        raise NotImplementedError

    def __bool__(self) -> bool:
        """Say whether there is any pattern at all."""
        raise NotImplementedError

    def match(self, path: str, parent: ParentState = ROOT) -> tuple[bool, ParentState]:
        """Say whether `path` (relative, no slashes at the ends) is ignored, and its state for children."""
        raise NotImplementedError

    def may_reinclude(self, path: str) -> bool:
        """Say whether a `!` pattern can match something below the directory `path`."""
        raise NotImplementedError

    def ignored(self, path: str) -> bool:
        """Decide for one path alone, parents taken into account. Mirrors: MatchesOrParentMatches."""
        raise NotImplementedError

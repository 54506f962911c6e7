"""Selects the entries of a directory that a COPY copies. Pure.

The planner and the content digests import it. Mirrors: fsutil copier.copy, buildkit cache/contenthash includedPaths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

import msgspec

from firkin.builder.context.views import FileStat, Matcher
from firkin.builder.copy.select import has_wildcard
from firkin.builder.graph.ops import Copy
from firkin.layer.change import Entry, View

Child = tuple[str, Entry | None, FileStat | None]
"""A name in a directory, with entry and stat if the listing gives them."""


Found = tuple[str, str, Entry, FileStat | None, bool]
"""An entry of a walk: name, path in the view, entry, stat, and whether it is wanted.

The walk also enters a directory that is not wanted itself, since something in it may be. (A plain tuple, because there
is one for each file.)
"""


class _Level:
    """A directory that is being walked; `path` and `below` (the matchers' path) end with a slash, or are empty."""

    __slots__ = ("below", "children", "excluded", "included", "path")

    def __init__(self, path: str, below: str, children: Iterable[Child], included: int, excluded: int) -> None:
        self.path = path
        self.below = below
        self.children = iter(children)
        self.included = included
        self.excluded = excluded


class Selection(msgspec.Struct, frozen=True):
    """The entries of a directory that a COPY copies: those that `include` matches (None: all) and `exclude` does not.

    Every match of `include` begins with the parts of `prefix`, so a walk skips all other directories.
    """

    include: Matcher | None = None
    exclude: Matcher | None = None
    prefix: tuple[str, ...] = ()

    def walk(self, view: View, top: str, children: Callable[[str], Iterable[Child]]) -> Iterator[Found | None]:
        """Yield the selected entries: each directory, then its contents, then None (but none for `top`).

        A directory that is not selected is yielded as well, since something in it may be.
        `children` lists a directory: `names_of(view)`, or a method of the view that also gives entries and stats.
        """
        takes_all = self.include is None and self.exclude is None
        levels = [_Level(top + "/" if top else "", "", children(top), 0, 0)]
        while levels:
            level = levels[-1]
            for name, entry, stat in level.children:
                decision = _ALL if takes_all else self._decide(name, level, len(levels))
                if decision is None:
                    continue
                wanted, included, excluded = decision
                path = level.path + name
                if entry is None:
                    entry = view.lstat(path)
                    if entry is None:
                        continue  # gone since the directory was read
                if entry.kind == "dir":
                    yield name, path, entry, stat, wanted
                    levels.append(_Level(path + "/", f"{level.below}{name}/", children(path), included, excluded))
                    break
                if wanted:
                    yield name, path, entry, stat, True
            else:
                levels.pop()
                if levels:
                    yield None

    def _decide(self, name: str, level: _Level, depth: int) -> tuple[bool, int, int] | None:
        """Return whether an entry is wanted, and the matchers' states for entries below it.

        None means that neither the entry nor anything below it is wanted.
        """
        if depth <= len(self.prefix) and name != self.prefix[depth - 1]:
            return None
        path = level.below + name
        wanted, included, excluded = True, 0, 0
        if self.include is not None:
            wanted, included = self.include.match(path, level.included)
        if self.exclude is not None:
            hit, excluded = self.exclude.match(path, level.excluded)
            if hit:
                wanted = False
                if not self.exclude.may_reinclude(path):
                    return None
        return wanted, included, excluded


_ALL = (True, 0, 0)


def names_of(view: View) -> Callable[[str], Iterable[Child]]:
    """Return a function that lists directories by name only, without entries and stats."""
    return lambda path: zip(view.iterdir(path), repeat(None), repeat(None))


def selection_of(op: Copy, matcher: Callable[[tuple[str, ...]], Matcher], pattern: str = "") -> Selection:
    """Return what a COPY selects in a directory; with --parents, `pattern` is the part of the source below it."""
    exclude = matcher(op.exclude) if op.exclude else None
    if not op.parents:
        return Selection(exclude=exclude)
    return Selection(matcher((pattern,)), exclude, _fixed_parts(pattern))


def _fixed_parts(pattern: str) -> tuple[str, ...]:
    """Return the leading parts of a --parents pattern that have no wildcard."""
    parts = []
    for part in pattern.split("/"):
        if not part or part.startswith("!") or has_wildcard(part) or "\\" in part:
            break
        parts.append(part)
    return tuple(parts)

"""Finds the files that a COPY source names: paths, patterns, links; makes the error if there are none. Pure.

The planner and the content digests import it.
Mirrors: tonistiigi/fsutil copy.ResolveWildcards, Go's filepath.Match, containerd/continuity fs.RootPath.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from firkin.builder.graph.ops import PathSource
from firkin.errors import ContextError
from firkin.layer.change import Entry, Lookup, View, follow_links
from firkin.text import clean, fits_tests, name_tests

if TYPE_CHECKING:
    from firkin.text import NameTests

_SPECIAL = frozenset("*?[")


class Match(NamedTuple):
    """One thing to copy: the name that matched, its path with links resolved, and its entry."""

    name: str
    path: str
    entry: Entry


def follow(lookup: Lookup, path: str, *, last: bool = True) -> str:
    """Return a clean path with its links followed within the root (the last part only with `last`).

    Parts that do not exist stay as they are. Raises ContextError for a chain without end.
    """
    found = follow_links(lookup, path, last=last)
    if found is None:
        raise ContextError(f'"/{path}": too many links', code="copy-link-loop")
    return found


def has_wildcard(text: str) -> bool:
    """Say whether a part holds an unescaped `*`, `?` or `[`. Mirrors: fsutil containsWildcards."""
    escaped = False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter in _SPECIAL:
            return True
    return False


def split_parents(source: PathSource) -> tuple[str, str]:
    """Return the start of a --parents source (a clean path, perhaps a pattern) and the pattern below it."""
    parts = [part for part in source.path.split("/") if part]
    return "/".join(parts[: source.pivot]), "/".join(parts[source.pivot :])


def find_matches(view: View, path: str, *, wildcard: bool = True) -> list[Match]:
    """Return the matches of a source, in the order of a walk. All links are followed, that of the last part too.

    Raises ContextError if a path without wildcards does not exist, or a link that matched has no target.
    """
    parts = clean(path).split("/")
    special = next((at for at, part in enumerate(parts) if has_wildcard(part)), None) if wildcard else None
    if special is None:
        return [_found(view, "/".join(parts), path)]
    start = _found(view, "/".join(parts[:special]), path)
    if start.entry.kind != "dir":
        return []
    try:
        patterns = [name_tests(part) for part in parts[special:]]
    except ValueError:
        raise ContextError(
            f'"{path}": syntax error in pattern', code="copy-pattern", hints=("escape a literal `[` as `[[]`",)
        ) from None
    return [_found(view, name, "/" + name) for name in _expand(view, start.path, patterns)]


def _expand(view: View, start: str, patterns: list[NameTests]) -> list[str]:
    """Return the paths below a directory whose parts match the patterns, one pattern for each part."""
    paths = [start]
    for depth, pattern in enumerate(patterns):
        directories = paths if depth == 0 else [path for path in paths if _is_directory(view, path)]
        paths = []
        for directory in directories:
            prefix = directory + "/" if directory else ""
            paths += [prefix + name for name in view.iterdir(directory) if fits_tests(pattern, name)]
    return paths


def _is_directory(view: View, path: str) -> bool:
    entry = view.lstat(path)
    return entry is not None and entry.kind == "dir"


def _found(view: View, path: str, shown: str) -> Match:
    target = follow(view.lstat, path)
    entry = view.lstat(target)
    if entry is None:
        raise not_found(view, target, shown)
    return Match(path, target, entry)


def nothing_selected(view: View, source: PathSource, exclude: tuple[str, ...]) -> ContextError:
    """Return the error for a --parents source without wildcards that selects nothing."""
    start, pattern = split_parents(source)
    shown = "/".join(part for part in (start, pattern) if part)
    where = clean(f"{follow(view.lstat, start)}/{pattern}")
    link = _link_on_the_way(view, where, where.count("/") - pattern.count("/"))
    if not pattern:
        hint = "--parents repeats the names of a path, and here are none: leave it out, or name what to copy"
    elif link:
        hint = f"--parents does not look behind links, and `{link}` is one: name what it leads to"
    elif exclude and view.lstat(where) is not None:
        hint = "--exclude leaves it out"
    else:
        return not_found(view, where, shown)
    return ContextError(f'"/{shown}": not found', code="copy-not-found", hints=(hint,))


def _link_on_the_way(view: View, path: str, followed: int) -> str:
    """Return the first link above a path, except within its first `followed` parts; "" for none."""
    parts = path.split("/")
    for depth in range(followed + 1, len(parts)):
        above = "/".join(parts[:depth])
        entry = view.lstat(above)
        if entry is not None and entry.kind == "symlink":
            return above
    return ""


def not_found(view: View, path: str, shown: str) -> ContextError:
    """Return the error for a named file that does not exist, with the best hint there is."""
    hints: tuple[str, ...] = ()
    explain = getattr(view, "exclusion_reason", None)
    reason = explain(path) if explain is not None else ""
    if reason:
        hints = (f"it is excluded by {reason}",)
    else:
        parent, _, name = path.rpartition("/")
        entry = view.lstat(parent)
        while entry is None and parent:
            parent, _, name = parent.rpartition("/")
            entry = view.lstat(parent)
        if entry is not None and entry.kind == "dir":
            from difflib import get_close_matches

            near = get_close_matches(name, view.iterdir(parent)[:10_000], 1)
            if near:
                hints = (f"did you mean `{parent + '/' if parent else ''}{near[0]}`?",)
    return ContextError(f'"/{shown.strip("/")}": not found', code="copy-not-found", hints=hints)

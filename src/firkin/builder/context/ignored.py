"""A tree filtered by an ignore file, for contexts that are not a directory on this machine. Pure.

Solve imports it. BuildKit applies no ignore file to a tar, a git tree or a download. Kaniko does, so the executor
uses this view.
"""

from __future__ import annotations

from collections.abc import Iterator

from firkin.builder.context.directory import matched, shows_something
from firkin.builder.context.views import Matcher
from firkin.layer.change import Content, Entry, View


class IgnoredView:
    """A View of another one without its ignored files. `ignore_name` is the ignore file's name, for messages."""

    def __init__(self, base: View, matcher: Matcher, ignore_name: str) -> None:
        self._base = base
        self.time_s: int | None = getattr(base, "time_s", None)
        self._matcher = matcher
        self._ignore_name = ignore_name
        self._states: dict[str, tuple[bool, int]] = {"": (False, 0)}
        self._shown: dict[str, bool] = {}

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None if it does not exist or is ignored."""
        entry = self._base.lstat(path)
        return entry if entry is not None and self._visible(path, entry) else None

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory that are not ignored, sorted by their bytes."""
        prefix = path + "/" if path else ""
        return [name for name in self._base.iterdir(path) if self.lstat(prefix + name) is not None]

    def content(self, path: str) -> Content:
        """Return a file's bytes, or the path of a file with them."""
        return self._base.content(path)

    def exclusion_reason(self, path: str) -> str:
        """Return the ignore file's name if it hides a file that exists, else ""."""
        entry = self._base.lstat(path)
        return self._ignore_name if entry is not None and not self._visible(path, entry) else ""

    def _visible(self, path: str, entry: Entry) -> bool:
        ignored, own = matched(path, self._matcher, self._states)
        if not ignored:
            return True
        return entry.kind == "dir" and shows_something(path, own, self._matcher, self._listed, self._shown)

    def _listed(self, path: str) -> Iterator[tuple[str, bool]]:
        prefix = path + "/" if path else ""
        for name in self._base.iterdir(path):
            entry = self._base.lstat(prefix + name)
            if entry is not None:
                yield name, entry.kind == "dir"

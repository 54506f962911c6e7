"""An ignore file over a tree in memory hides what it hides in a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from firkin.builder.context.directory import DirectoryContext
from firkin.builder.context.ignored import IgnoredView
from firkin.builder.context.views import MemoryView
from firkin.builder.dockerfile.ignore import parse_ignore
from firkin.layer.change import Entry, View
from firkin.source import Source

FILES = ("a", "b.txt", "d/a", "d/b.txt", "d/e/a", "d/e/keep", "node_modules/x/y", ".dockerignore", "Dockerfile")


def paths(view: View, path: str = "") -> list[str]:
    found = []
    for name in view.iterdir(path):
        below = f"{path}/{name}" if path else name
        found.append(below)
        entry = view.lstat(below)
        assert entry is not None
        if entry.kind == "dir":
            found += paths(view, below)
    return found


@pytest.mark.parametrize(
    "patterns",
    ["", "a", "**/a", "d", "d\n!d/e/keep", "*\n!d/e", "node_modules", "*.txt\n!d/*.txt", "*", "d/**\n!d/e/k*"],
)
def test_the_same_as_a_directory(tmp_path: Path, patterns: str) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    matcher = parse_ignore(Source(".dockerignore", patterns))
    directory = DirectoryContext(str(tmp_path), matcher, ".dockerignore")
    contents = {name: name.encode() for name in FILES}
    memory = MemoryView({name: Entry(kind="file", size=len(name)) for name in FILES}, dict(contents))
    view = IgnoredView(memory, matcher, ".dockerignore")
    assert paths(view) == paths(directory)
    for name in FILES:
        assert (view.lstat(name) is None) == (directory.lstat(name) is None)
        assert view.exclusion_reason(name) == directory.exclusion_reason(name)
        assert view.content(name) == name.encode()
    assert view.exclusion_reason("absent") == "" and view.lstat("absent") is None

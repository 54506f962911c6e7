"""The times of what a COPY makes or repeats."""

from __future__ import annotations

from support.trees import lines, tree

from firkin.builder.copy.plan import CopyTools, plan_copy
from firkin.builder.graph.ops import Copy, PathSource, TextSource
from firkin.layer.change import View

TOOLS = CopyTools(
    read=lambda content: b"",
    open_archive=lambda content: None,
    matcher=lambda patterns: None,  # type: ignore[arg-type,return-value]
    warn=lambda code, text: None,
    made_ns=7 * 10**9,
)


def copy(root: View, source: View, *paths: str, dest: str, tools: CopyTools) -> list[str]:
    return lines(plan_copy(Copy(tuple(PathSource(1, path) for path in paths), dest), (root, source), tools), times=True)


def test_made_directories_are_as_old_as_the_newest_source() -> None:
    context = tree("file /a 0644 @3 a\nfile /b 0644 @9 b")
    found = copy(tree(), context, "/a", "/b", dest="/new/dir/", tools=TOOLS._replace(like_sources=True))
    assert [line for line in found if line.startswith("dir")] == ["dir /new 0755 0:0 @9", "dir /new/dir 0755 0:0 @9"]


def test_texts_have_the_time_of_the_base() -> None:
    op = Copy((TextSource("f", "x"),), "/new/f")
    assert lines(plan_copy(op, (tree(),), TOOLS._replace(like_sources=True)), times=True) == [
        "dir /new 0755 0:0 @7", "file /new/f 0644 0:0 @7 x",
    ]  # fmt: skip


def test_repeated_directories_are_no_later_than_the_epoch() -> None:
    root = tree("dir /old 0755 @3\ndir /old/touched 0755 @99")
    context = tree("file /a 0644 @50 a")
    assert copy(root, context, "/a", dest="/old/touched/", tools=TOOLS._replace(latest_ns=7 * 10**9)) == [
        "dir /old 0755 0:0 @3", "dir /old/touched 0755 0:0 @7", "file /old/touched/a 0644 0:0 @50 a",
    ]  # fmt: skip
    assert "dir /old/touched 0755 0:0 @99" in copy(root, context, "/a", dest="/old/touched/", tools=TOOLS)

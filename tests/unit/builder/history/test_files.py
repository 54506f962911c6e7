"""Lists of files say what changed between two digests."""

from __future__ import annotations

from typing import Any, cast

import pytest
from support.trees import tree

from firkin.builder.context.views import Matcher
from firkin.builder.copy.content import FileDigests, copy_digests, tree_digest
from firkin.builder.copy.plan import CopyTools
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.graph.ops import Copy, PathSource
from firkin.builder.history.files import FileChange, compare_lists, decode_list, encode_list, read_list
from firkin.layer.change import View

TOOLS = CopyTools(
    read=lambda content: cast(bytes, content),
    open_archive=lambda _: None,
    matcher=lambda patterns: cast(Matcher, IgnoreMatcher(patterns)),
    warn=lambda *_: None,
)


def listed(view: View, path: str = "/d", **op: Any) -> list[str]:
    lists: dict[str, list[str]] = {}
    (digest,) = copy_digests(Copy((PathSource(1, path),), "/x", **op), (tree(), view), TOOLS, FileDigests(None, 0, lists))
    return lists[digest]


def changes(old: str, new: str, path: str = "/d", **op: Any) -> list[tuple[str, ...]]:
    lists = [read_list(decode_list(encode_list(listed(tree(text), path, **op))), path) for text in (old, new)]
    return [tuple(filter(None, change)) for change in compare_lists(*lists)]


BASE = "file /d/f 0644 data\ndir /d/s 0755\nfile /d/s/x 0644 deep\nlink /d/l -> f\nfile /top 0644 x"


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (BASE, []),
        (BASE.replace("data", "other"), [("d/f", "content")]),
        (BASE.replace("/d/f 0644", "/d/f 0755"), [("d/f", "mode", "644", "755")]),
        (BASE.replace("/d/f 0644", "/d/f 0644 5:6"), [("d/f", "owner", "0:0", "5:6")]),
        (BASE.replace("deep", "deeper"), [("d/s/x", "content")]),
        (BASE.replace("/d/s 0755", "/d/s 0700"), [("d/s", "mode", "755", "700")]),
        (BASE.replace("-> f", "-> g"), [("d/l", "target", "f", "g")]),
        (BASE + "\nfile /d/new 0644 n", [("d/new", "added")]),
        (BASE.replace("file /d/f 0644 data\n", ""), [("d/f", "removed")]),
        (BASE.replace("link /d/l -> f", "file /d/l 0644 f"), [("d/l", "kind", "symlink", "file")]),
        (BASE.replace("/top 0644 x", "/top 0644 y"), []),
    ],
)
def test_a_change_is_named_by_its_path_in_the_context(new: str, told: list[tuple[str, ...]]) -> None:
    assert changes(BASE, new) == told


def test_a_file_and_the_root_as_sources() -> None:
    assert changes(BASE, BASE.replace("deep", "deeper"), "/d/s/x") == [("d/s/x", "content")]
    assert changes(BASE, BASE.replace("deep", "deeper"), "/") == [("d/s/x", "content")]


def test_what_is_excluded_is_not_listed() -> None:
    assert changes(BASE, BASE.replace("deep", "deeper"), exclude=("s",)) == []
    assert not any("deep" in item or "1:x" in item for item in listed(tree(BASE), exclude=("s",)))


def test_a_mounted_directory_counts_itself() -> None:
    lists: dict[str, list[str]] = {}
    found = [tree_digest(tree(f"dir /d {mode}\nfile /d/f x"), "/d", FileDigests(None, 0, lists)) for mode in ("0755", "0700")]
    then, now = (read_list(lists[digest], "/d") for digest in found)
    assert list(compare_lists(then, now)) == [FileChange("d", "mode", "755", "700")]


def test_names_that_are_not_utf_8_survive() -> None:
    items = ["4:a\udcff:bfile 644 0 0 00\n", "(", ")"]
    assert decode_list(encode_list(items)) == items


@pytest.mark.parametrize("data", [b"", b"x", encode_list(["a" * 100])[:-4]])
def test_damaged_lists_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_list(data)


@pytest.mark.parametrize("items", [[")"], ["x"], ["1:afile"], ["99999999:a"], ["9:afile 644"]])
def test_damaged_items_are_refused(items: list[str]) -> None:
    with pytest.raises(ValueError):
        read_list(items)

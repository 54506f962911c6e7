"""What changes the content digest of a COPY's sources, and what does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
from support.trees import tree

from firkin.builder.context.directory import DirectoryContext
from firkin.builder.context.views import Matcher, MemoryView, SingleFile
from firkin.builder.copy.content import FileDigests, copy_digests, copy_times, selects_same, shows_same, tree_digest
from firkin.builder.copy.plan import CopyTools
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.graph.ops import Copy, FileSource, PathSource
from firkin.errors import ContextError
from firkin.layer.change import Entry, View

TOOLS = CopyTools(
    read=lambda content: cast(bytes, content),
    open_archive=lambda _: None,
    matcher=lambda patterns: cast(Matcher, IgnoreMatcher(patterns)),
    warn=lambda *_: None,
)
FILES = FileDigests(None, 0)


def digest(view: View, path: str = "/d", pivot: int = 0, **op: Any) -> str:
    copy = Copy((PathSource(1, path, pivot=pivot),), "/x", **op)
    return copy_digests(copy, (tree(), view), TOOLS, FILES)[0]


BASE = "file /d/f 0644 @1 data\ndir /d/s 0755 @1\nlink /d/l -> f\nfile /top x"


@pytest.mark.parametrize(
    "other",
    [
        "file /d/g 0644 @1 data\ndir /d/s\nlink /d/l -> f",
        "file /d/f 0600 data\ndir /d/s\nlink /d/l -> f",
        "file /d/f 0644 1:0 data\ndir /d/s\nlink /d/l -> f",
        "file /d/f 0644 0:1 data\ndir /d/s\nlink /d/l -> f",
        "file /d/f other\ndir /d/s\nlink /d/l -> f",
        "file /d/f data\ndir /d/s 0700\nlink /d/l -> f",
        "file /d/f data\ndir /d/s\nlink /d/l -> g",
        "file /d/f data\nfile /d/s\nlink /d/l -> f",
        "file /d/f data\nlink /d/l -> f",
        "file /d/f data\ndir /d/s\nlink /d/s/l -> f",
        "file /d/f data\ndir /d/s\nlink /d/l -> f\nfile /d/s/n",
    ],
)
def test_what_counts(other: str) -> None:
    assert digest(tree(BASE)) != digest(tree(other))


def test_what_does_not_count() -> None:
    same = "dir /d 0700 3:4 @9\nfile /d/f 0644 @7 data\ndir /d/s 0755 @8\nlink /d/l -> f\nfile /other y"
    assert digest(tree(BASE)) == digest(tree(same))


def test_hard_links_count() -> None:
    apart = tree("file /d/f x\nfile /d/g x")
    assert digest(apart) != digest(tree("file /d/f x\nhard /d/g = /d/f"))


def test_names_outside_of_what_is_read_do_not_count() -> None:
    alone = tree("file /d/f data\nfile /d/g other")
    linked = tree("file /d/f data\nfile /d/g other\nfile /e\nhard /e2 /d/f\nhard /e3 /d/g")
    assert digest(alone) == digest(linked)


def test_two_views_are_compared() -> None:
    op = Copy((PathSource(3, "/d"),), "/x", exclude=("*.log",))
    (source,) = op.sources
    assert isinstance(source, PathSource)
    view = tree(BASE)
    for other, copied, shown in (
        (BASE.replace("@1", "@2"), True, True),
        (BASE + "\nfile /d/a.log x", True, False),
        (BASE.replace("data", "Data"), False, False),
        (BASE.replace("data", "more"), False, False),
        (BASE + "\nfile /else x", True, True),
        (BASE + "\ndir /d 0700", True, False),  # the mode of what is named is not copied, but shown
    ):
        views = (view, tree(other))
        assert selects_same(op, source, views, TOOLS, FILES) is copied
        assert shows_same("/d/", views, FILES) is shown
    with pytest.raises(ContextError):
        shows_same("/gone", (view, view), FILES)


def test_names_of_matches_count_but_not_of_a_directory() -> None:
    assert digest(tree("file /a1 x"), "/a*") != digest(tree("file /a2 x"), "/a*")
    assert digest(tree("file /a/f x"), "/a") == digest(tree("file /b/f x"), "/b")


def test_a_link_counts_as_what_it_leads_to() -> None:
    assert digest(tree("link /l -> f\nfile /f x"), "/l") == digest(tree("link /l -> g\nfile /g x"), "/l")
    assert digest(tree("link /l -> f\nfile /f x"), "/l") != digest(tree("link /l -> f\nfile /f y"), "/l")


def test_excluded_files_do_not_count() -> None:
    assert digest(tree(BASE), exclude=("f",)) == digest(tree(BASE.replace("data", "other")), exclude=("f",))
    assert digest(tree(BASE), exclude=("g",)) != digest(tree(BASE.replace("data", "other")), exclude=("g",))


def test_parents_count_only_above_a_match() -> None:
    one = "dir /p 0755\nfile /p/f x\ndir /q/r\nfile /q/y y"
    assert digest(tree(one), "/p/f", parents=True) == digest(tree(one, "dir /q 0700"), "/p/f", parents=True)
    assert digest(tree(one), "/p/f", parents=True) != digest(tree(one, "dir /p 0700"), "/p/f", parents=True)
    assert digest(tree(one), "/**/f", parents=True) == digest(tree(one, "dir /q/r 0700"), "/**/f", parents=True)
    with pytest.raises(ContextError, match="not found"):
        digest(tree(one), "/p/g", parents=True)


def test_download_and_tree() -> None:
    file = SingleFile("f", Entry(kind="file", mtime_ns=1), b"x")
    later = SingleFile("f", Entry(kind="file", mtime_ns=2), b"x")
    copies = [copy_digests(Copy((FileSource(1),), "/"), (tree(), view), TOOLS, FILES) for view in (file, later)]
    assert copies[0] == copies[1]
    assert tree_digest(tree(BASE), "d", FILES) == tree_digest(tree(BASE), "/d", FILES)
    assert tree_digest(tree(BASE), "d", FILES) != tree_digest(tree(BASE, "dir /d 0700"), "d", FILES)


class Cache:
    """A DigestCache in memory that counts."""

    def __init__(self) -> None:
        self.known: dict[tuple[str | int, ...], str] = {}
        self.hits = 0

    def get(self, *key: str | int) -> str | None:
        found = self.known.get(key)
        self.hits += found is not None
        return found

    def put(self, *key_and_digest: str | int) -> None:
        *key, digest = key_and_digest
        self.known[tuple(key)] = str(digest)


def test_file_digests_are_remembered_once_settled(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    changed_ns = (tmp_path / "f").stat().st_ctime_ns
    cache = Cache()

    def now(now_ns: int) -> str:
        return tree_digest(DirectoryContext(str(tmp_path)), "", FileDigests(cast(Any, cache), now_ns))

    first = now(changed_ns + 10**9)
    assert cache.known == {}
    assert now(changed_ns + 3 * 10**9) == first
    assert len(cache.known) == 1
    assert now(changed_ns + 4 * 10**9) == first
    assert cache.hits == 1
    # Replaced by a file of the same name, size and time.
    status = (tmp_path / "f").stat()
    (tmp_path / "new").write_text("two")
    os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(tmp_path / "new", tmp_path / "f")
    assert now(changed_ns + 5 * 10**9) != first


def test_times_that_were_set() -> None:
    def times(view: View, path: str = "/d", **op: Any) -> str:
        return copy_times(Copy((PathSource(1, path),), "/x", **op), (tree(), view), TOOLS)

    def checked_out(path: str, mtime_ns: int) -> MemoryView:
        return MemoryView({path: Entry("file", mtime_ns=mtime_ns)}, {path: b""})

    assert times(checked_out("d/f", 5 * 10**9 + 1)) == ""
    assert times(checked_out("d/f", 5 * 10**9)) != times(checked_out("d/f", 6 * 10**9)) != ""
    assert times(checked_out("d/f", 5 * 10**9)) == times(tree("dir /d @7\nfile /d/f @5"))
    assert times(tree("file /d/f @5"), exclude=("f",)) == ""
    assert times(tree("file /d/f @5"), "/d/*") == times(tree("file /d/f @5\nfile /e @6"), "/d/*") != ""

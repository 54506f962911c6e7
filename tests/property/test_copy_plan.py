"""Properties of COPY's planner over random trees, patterns, modes and archives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.trees import lines, tree

from firkin.builder.context.archive import ArchiveOpener
from firkin.builder.context.views import Matcher, Member, MemoryView
from firkin.builder.copy.chmod import parse_chmod
from firkin.builder.copy.content import FileDigests, copy_digests
from firkin.builder.copy.plan import CopyTools, plan_copy
from firkin.builder.copy.select import follow
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.graph.ops import Copy, PathSource
from firkin.errors import FirkinError
from firkin.layer.change import Change, Content, Entry, Opaque, Put
from firkin.text import clean, match_name

ARCHIVE = b"archive"
names = st.sampled_from(["a", "b", "c.md", "d"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
entries = st.one_of(
    st.builds(Entry, st.just("file"), st.sampled_from([0o644, 0o4755]), uid=st.integers(0, 2)),
    st.builds(Entry, st.just("dir"), st.sampled_from([0o755, 0o1777])),
    st.builds(Entry, st.just("symlink"), st.just(0o777), target=st.sampled_from(["a", "../b", "/d/a", "."])),
)


@st.composite
def trees(draw: st.DrawFn) -> MemoryView:
    """A tree whose parents are directories."""
    found: dict[str, Entry] = {}
    for path, entry in draw(st.dictionaries(paths, entries, max_size=12)).items():
        parts = path.split("/")
        parents = ["/".join(parts[:count]) for count in range(1, len(parts))]
        if path not in found and all(parent not in found or found[parent].kind == "dir" for parent in parents):
            found[path] = entry
            for parent in parents:
                found.setdefault(parent, Entry("dir", 0o755))
    contents: dict[str, Content] = {path: path.encode() for path, entry in found.items() if entry.kind == "file"}
    return MemoryView(found, contents)


def tools(members: list[Member] | None = None) -> CopyTools:
    return CopyTools(
        read=lambda content: cast(bytes, content),
        open_archive=lambda _: members,
        matcher=lambda patterns: cast(Matcher, IgnoreMatcher(patterns)),
        warn=lambda *_: None,
    )


def check_order(changes: list[Change]) -> None:
    """Each path once, parents first, links to what came before, an opaque directory right behind its Put."""
    seen: dict[str, str] = {"": "dir"}
    last = ""
    for change in changes:
        if isinstance(change, Opaque):
            assert change.path == last
            continue
        assert isinstance(change, Put)
        assert change.path not in seen
        assert seen[change.path.rpartition("/")[0]] == "dir"
        assert not change.link or seen[change.link] == change.entry.kind
        assert (change.content is not None) == (change.entry.kind == "file" and not change.link)
        seen[change.path] = change.entry.kind
        last = change.path


def after(root: MemoryView, changes: list[Change]) -> dict[str, str]:
    """Return path → kind once the changes are applied."""
    found: dict[str, str] = {}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        for name in root.iterdir(path):
            below = f"{path}/{name}" if path else name
            entry = root.lstat(below)
            assert entry is not None
            found[below] = entry.kind
            waiting.append(below)
    for change in changes:
        assert isinstance(change, (Put, Opaque))
        gone = isinstance(change, Opaque) or (change.path in found and change.entry.kind != "dir")
        if gone:
            found = {path: kind for path, kind in found.items() if not path.startswith(change.path + "/")}
        if isinstance(change, Put):
            found[change.path] = change.entry.kind
    return found


sources = st.sampled_from(["/", "/a", "/b", "/*", "/a/*", "/*/b", "/d/a"])
destinations = st.sampled_from(["/", "/x", "/x/", "/a", "/a/b/", "/b/.", "/d/a"])


@given(trees(), trees(), st.lists(sources, min_size=1, max_size=3), destinations, st.booleans(), st.booleans())
def test_changes_are_in_order(
    root: MemoryView, source: MemoryView, asked: list[str], dest: str, parents: bool, exclude: bool
) -> None:
    op = Copy(
        tuple(PathSource(1, path) for path in asked),
        dest,
        parents=parents,
        exclude=("**/*.md", "!a") if exclude else (),
    )
    try:
        changes = list(plan_copy(op, (root, source), tools()))
        copy_digests(op, (root, source), tools(), FileDigests(None, 0))
    except FirkinError as error:
        assert error.message
        return
    check_order(changes)


@given(trees())
def test_a_tree_copied_whole_is_the_tree(source: MemoryView) -> None:
    changes = list(plan_copy(Copy((PathSource(1, "/"),), "/"), (tree(), source), tools()))
    assert after(tree(), changes) == after(source, [])
    assert lines(plan_copy(Copy((PathSource(1, "/"),) * 2, "/"), (tree(), source), tools())) == lines(changes)


@given(trees(), trees())
def test_what_is_copied_is_there_whatever_was_before(root: MemoryView, source: MemoryView) -> None:
    try:
        changes = list(plan_copy(Copy((PathSource(1, "/"),), "/"), (root, source), tools()))
    except FirkinError:
        return
    found = after(root, changes)
    assert {path: found[path] for path in after(source, [])} == after(source, [])


members = st.lists(
    st.one_of(
        st.builds(Member, paths, entries, st.just(b"x")),
        st.builds(Member, st.sampled_from(["../a", "/b", "./", "a/../../d", "l/"]), entries, st.just(b"x")),
        st.builds(Member, paths, st.builds(Entry, st.just("file")), st.none(), paths),
    ).map(lambda member: member if member.link or member.entry.kind == "file" else member._replace(content=None)),
    max_size=8,
)


@given(trees(), members, destinations)
def test_archives_stay_below_the_destination(root: MemoryView, found: list[Member], dest: str) -> None:
    source = MemoryView({"x.tar": Entry("file")}, {"x.tar": ARCHIVE})
    op = Copy((PathSource(1, "/x.tar"),), dest, unpack="auto")
    try:
        changes = list(plan_copy(op, (root, source), tools(found)))
    except FirkinError as error:
        assert error.message
        return
    check_order(changes)
    below = follow(root.lstat, clean(dest))
    for change in changes:
        above = below.startswith(change.path)
        assert above or not below or change.path.startswith(below + "/")


@given(st.text("ab*?[]^-\\x", max_size=8), st.text("abx-]^\\", max_size=6))
def test_patterns_agree_with_regular_expressions(pattern: str, name: str) -> None:
    try:
        found = match_name(pattern, name)
    except ValueError:
        return
    expression = re.sub(
        r"\\(.)|(\*)|(\?)|\[(\^?)((?:\\.|[^\]\\])+)\]|(.)",
        lambda part: (
            re.escape(part[1])
            if part[1]
            else ".*"
            if part[2]
            else "."
            if part[3]
            else f"[{part[4]}{_class(part[5])}]"
            if part[5]
            else re.escape(part[6])
        ),
        pattern,
    )
    try:
        expected = re.fullmatch(expression, name, re.DOTALL) is not None
    except re.error:  # a range from high to low: Go matches nothing
        return
    assert found == expected


def _class(text: str) -> str:
    """Escape what a class of Python treats specially; a dash stays between two ends."""
    return re.sub(r"\\(.)|([\[\]^])", lambda part: "\\" + (part[1] or part[2]), text)


@given(st.text(max_size=12))
def test_any_text_is_a_mode_or_a_value_error(text: str) -> None:
    try:
        chmod = parse_chmod(text)
    except ValueError as error:
        assert "invalid chmod parameter" in str(error)
        return
    assert 0 <= chmod.apply(0o644, False) <= 0o7777


classes = st.sampled_from(["u", "g", "o", "a", "ug", "go"])
operators = st.sampled_from(["+", "-", "="])
# BSD (and so BuildKit) and GNU differ where a class is copied to whatever the umask leaves.
clauses = st.one_of(
    st.tuples(classes, operators, st.sampled_from(["u", "g", "o"])),
    st.tuples(st.one_of(classes, st.just("")), operators, st.sampled_from(["", "r", "w", "x", "rw", "rwx"])),
).map("".join)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.lists(clauses, min_size=1, max_size=3).map(",".join), mode=st.integers(0, 0o777))
def test_modes_agree_with_the_chmod_program(tmp_path: Path, text: str, mode: int) -> None:
    import subprocess

    place = tmp_path / "f"
    place.touch()
    place.chmod(mode)
    done = subprocess.run(["chmod", "--", text, str(place)], capture_output=True, umask=0, check=False)
    # chmod fails where the umask made the result differ from what the text says; the mode is set all the same.
    assert done.returncode == 0 or b"new permissions are" in done.stderr
    assert oct(parse_chmod(text).apply(mode, False)) == oct(place.stat().st_mode & 0o7777)


@given(data=st.one_of(st.binary(max_size=1200), st.binary(max_size=64).map(lambda head: head + bytes(1024))))
def test_any_bytes_are_an_archive_or_not(data: bytes) -> None:
    opened = ArchiveOpener(lambda name: pytest.fail("nothing that small is kept in a file"))(data)
    if opened is not None:
        try:
            list(opened)
        except ValueError as error:
            assert str(error)

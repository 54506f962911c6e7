"""COPY's rules, a root and a source written as lines."""

from __future__ import annotations

from typing import Any, cast

import pytest
from support.trees import lines, tree

from firkin.builder.context.views import Matcher, Member, MemoryView, SingleFile
from firkin.builder.copy.content import FileDigests, copy_digests
from firkin.builder.copy.plan import CopyTools, plan_copy, plan_mkdir
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.graph.ops import Copy, FileSource, MakeDir, PathSource, TextSource
from firkin.errors import ContextError, FirkinError, StepFailed
from firkin.layer.change import Content, Entry, View
from firkin.text import clean

ARCHIVE = b"archive:"
archives: dict[bytes, list[Member]] = {}


def tools(warnings: list[str] | None = None) -> CopyTools:
    def read(content: Content) -> bytes:
        assert isinstance(content, bytes)
        return content

    return CopyTools(
        read=read,
        open_archive=lambda content: archives.get(cast(bytes, content)),
        matcher=lambda patterns: cast(Matcher, IgnoreMatcher(patterns)),
        warn=lambda code, text: (warnings if warnings is not None else []).append(code),
        made_ns=7 * 10**9,
    )


def copy(
    root: View, source: View, *paths: str, dest: str, times: bool = False, warnings: list[str] | None = None, **op: Any
) -> list[str]:
    sources = tuple(PathSource(1, path, pivot=op.pop("pivot", 0)) for path in paths)
    return lines(plan_copy(Copy(sources, dest, **op), (root, source), tools(warnings)), times=times)


CONTEXT = """
file /a.txt 0644 @3 a
file /b.txt 0600 b
file /d/one 0644 1
dir  /d/sub 0711 @9
file /d/sub/two 4755 2
link /d/l -> one
"""


def test_file_to_new_name_emits_parents_and_file() -> None:
    root = tree("dir /etc 0700 5:6")
    assert copy(root, tree(CONTEXT), "/a.txt", dest="/etc/x/y", times=True) == [
        "dir /etc 0700 5:6 @0",
        "dir /etc/x 0755 0:0 @7",
        "file /etc/x/y 0644 0:0 @3 a",
    ]


@pytest.mark.parametrize("dest", ["/etc", "/etc/", "/etc/.", "/link"])
def test_file_goes_into_an_existing_directory(dest: str) -> None:
    root = tree("dir /etc 1770 3:4\nlink /link -> etc")
    assert copy(root, tree(CONTEXT), "/a.txt", dest=dest) == ["dir /etc 1770 3:4", "file /etc/a.txt 0644 0:0 a"]


def test_directory_contents_new_destination_takes_only_the_time() -> None:
    source = tree(CONTEXT, "dir /d 0700 9:9 @5")
    assert copy(tree(), source, "/d", dest="/x", times=True) == [
        "dir /x 0755 0:0 @5",
        "link /x/l -> one",
        "file /x/one 0644 0:0 @0 1",
        "dir /x/sub 0711 0:0 @9",
        "file /x/sub/two 4755 0:0 @0 2",
    ]


def test_directories_inside_take_over_metadata_even_where_they_exist() -> None:
    root = tree("dir /x 0700 1:1\ndir /x/sub 0700 2:2\nfile /x/sub/keep k")
    assert copy(root, tree(CONTEXT), "/d", dest="/x/") == [
        "dir /x 0700 1:1",
        "link /x/l -> one",
        "file /x/one 0644 0:0 1",
        "dir /x/sub 0711 0:0",
        "file /x/sub/two 4755 0:0 2",
    ]


def test_chown_and_octal_chmod_reach_made_parents_without_special_bits() -> None:
    root = tree("file /etc/passwd app:x:10:20:::\nfile /etc/group staff:x:50:")
    assert copy(root, tree(CONTEXT), "/d", dest="/p/q/", chown="app:staff", chmod="1640") == [
        "dir /p 0640 10:50",
        "dir /p/q 0640 10:50",
        "link /p/q/l -> one 10:50",
        "file /p/q/one 1640 10:50 1",
        "dir /p/q/sub 1640 10:50",
        "file /p/q/sub/two 1640 10:50 2",
    ]


def test_symbolic_chmod_is_computed_for_each_entry() -> None:
    assert copy(tree(), tree(CONTEXT), "/d", dest="/p/", chmod="go=,u+X") == [
        "dir /p 0755 0:0",
        "link /p/l -> one",
        "file /p/one 0600 0:0 1",
        "dir /p/sub 0700 0:0",
        "file /p/sub/two 4700 0:0 2",
    ]


@pytest.mark.parametrize(
    ("chown", "owner", "codes"),
    [
        ("12", "12:12", []),
        ("12:34", "12:34", []),
        ("root", "0:0", []),
        ("app", "10:20", []),
        ("app:34", "10:34", []),
        ("12:staff", "12:50", []),
        ("ghost", "0:0", ["unknown-user"]),
        ("app:ghosts", "10:20", ["unknown-group"]),
        ("12:", "12:0", []),
        ("app:", "10:0", []),
        (":34", "0:34", []),
        (":", "0:0", []),
        ("short", "11:0", []),
    ],
)
def test_chown_forms(chown: str, owner: str, codes: list[str]) -> None:
    root = tree(
        "file /etc/passwd app:x:10:20:::\\nshort:x:11\nlink /etc/group -> ../srv/group\nfile /srv/group staff:x:50:"
    )
    warnings: list[str] = []
    assert copy(root, tree(CONTEXT), "/a.txt", dest="/f", chown=chown, warnings=warnings) == [f"file /f 0644 {owner} a"]
    assert warnings == codes


@pytest.mark.parametrize("chown", ["daemon", "0:daemon", "daemon:0", ":staff", "-1"])
def test_names_cannot_be_looked_up_before_the_first_layer(chown: str) -> None:
    op = Copy((PathSource(1, "/a.txt"),), "/f", chown=chown)
    with pytest.raises(StepFailed, match="in `FROM scratch`"):
        list(plan_copy(op, (tree(), tree(CONTEXT)), tools(), first=True))
    with pytest.raises(StepFailed, match="in `FROM scratch`"):
        list(plan_mkdir(MakeDir("/w", user=chown), tree(), tools(), first=True))


@pytest.mark.parametrize("root", ["", "file /x x", "file /etc x", "link /etc/passwd -> /none\nlink /etc/group -> /none"])
@pytest.mark.parametrize("chown", ["daemon", "0:daemon", "daemon:0", ":staff", "-1"])
def test_a_root_without_passwd_and_group_knows_no_name(root: str, chown: str) -> None:
    warnings: list[str] = []
    assert copy(tree(root), tree(CONTEXT), "/a.txt", dest="/f", chown=chown, warnings=warnings) == ["file /f 0644 0:0 a"]
    assert len(warnings) == 1


@pytest.mark.parametrize(("chown", "told"), [("daemon", "passwd"), ("0:daemon", "group"), ("daemon:daemon", "passwd")])
def test_names_cannot_be_looked_up_in_a_directory(chown: str, told: str) -> None:
    with pytest.raises(StepFailed, match=f"/etc/{told} is a directory"):
        copy(tree("dir /etc/passwd\ndir /etc/group"), tree(CONTEXT), "/a.txt", dest="/f", chown=chown)


def test_owner_and_mode_are_refused_where_nothing_is_copied() -> None:
    with pytest.raises(StepFailed, match="/etc/passwd is a directory"):
        copy(tree("dir /etc/passwd"), tree(CONTEXT), "/nothing*", dest="/f", chown="daemon")
    with pytest.raises(StepFailed, match="chmod"):
        copy(tree(), tree(CONTEXT), "/nothing*", dest="/f", chmod="9")


@pytest.mark.parametrize("chown", ["root", "0:root", "12", ":", "12:"])
def test_numbers_need_no_files(chown: str) -> None:
    op = Copy((PathSource(1, "/a.txt"),), "/f", chown=chown)
    assert list(plan_copy(op, (tree(), tree(CONTEXT)), tools(), first=True))


def test_link_looks_at_nothing_below() -> None:
    root = tree("link /link -> /real\ndir /real")
    assert copy(root, tree(CONTEXT), "/a.txt", dest="/link/", link=True) == [
        "dir /link 0755 0:0",
        "file /link/a.txt 0644 0:0 a",
    ]
    with pytest.raises(StepFailed, match="user `daemon`"):
        copy(root, tree(CONTEXT), "/a.txt", dest="/x", link=True, chown="daemon")


def test_destination_links_are_followed_but_entries_are_not_written_through() -> None:
    root = tree("link /gone -> /not/yet\nlink /f -> real\nfile /real r\ndir /d\nlink /d/a.txt -> /real")
    assert copy(root, tree(CONTEXT), "/a.txt", dest="/gone/x")[-1] == "file /not/yet/x 0644 0:0 a"
    assert copy(root, tree(CONTEXT), "/a.txt", dest="/f") == ["file /real 0644 0:0 a"]
    assert copy(root, tree(CONTEXT), "/a.txt", dest="/d/")[-1] == "file /d/a.txt 0644 0:0 a"


def test_what_does_not_fit_is_an_error() -> None:
    root = tree("file /f x\ndir /dest/one\nfile /dest2/sub x\nlink /dest3/sub -> /dest")
    for paths, dest, message in (
        (("/d",), "/f", "cannot copy to non-directory: /f"),
        (("/d",), "/f/x", "mkdir /f: not a directory"),
        (("/a.txt",), "/f/", "mkdir /f: not a directory"),
        (("/d",), "/dest/", "cannot replace to directory /dest/one with file"),
        (("/d",), "/dest2/", "cannot copy to non-directory: /dest2/sub"),
        (("/d",), "/dest3/", "cannot copy to non-directory: /dest3/sub"),
    ):
        with pytest.raises(StepFailed) as caught:
            copy(root, tree(CONTEXT), *paths, dest=dest)
        assert caught.value.message == message


def test_missing_file_names_itself_and_the_nearest() -> None:
    with pytest.raises(ContextError) as caught:
        copy(tree(), tree(CONTEXT), "/d/onne", dest="/x")
    assert caught.value.message == '"/d/onne": not found'
    assert caught.value.hints == ("did you mean `d/one`?",)


def test_missing_file_that_is_excluded_says_so() -> None:
    class Hiding(MemoryView):
        def exclusion_reason(self, path: str) -> str:
            return ".dockerignore" if path == "secret" else ""

    with pytest.raises(ContextError) as caught:
        copy(tree(), Hiding({}, {}), "/secret", dest="/x")
    assert caught.value.hints == ("it is excluded by .dockerignore",)


def test_wildcards() -> None:
    source = tree("file /w/a1 1\nfile /w/b1 2\nfile /w/s/a2 3\nlink /w/l -> s\nfile /[x] x")
    assert copy(tree(), source, "/w/?1", dest="/o/") == [
        "dir /o 0755 0:0",
        "file /o/a1 0644 0:0 1",
        "file /o/b1 0644 0:0 2",
    ]
    assert copy(tree(), source, "/w/*/a*", dest="/o/")[1:] == ["file /o/a2 0644 0:0 3"]
    assert copy(tree(), source, "/w/[^a]1", dest="/one") == ["file /one 0644 0:0 2"]
    assert copy(tree(), source, "/[[]x]", dest="/one") == ["file /one 0644 0:0 x"]
    warnings: list[str] = []
    assert copy(tree(), source, "/nothing*", dest="/o/", warnings=warnings) == []
    assert warnings == ["copy-nothing-matched"]
    with pytest.raises(ContextError, match="syntax error"):
        copy(tree(), source, "/w/[a", dest="/o/")


def test_links_given_directly_are_followed_links_inside_are_kept() -> None:
    source = tree("dir /d\nfile /d/f x\nlink /l -> d\nlink /up/m -> ../../../d/f\nlink /broken -> nowhere")
    assert copy(tree(), source, "/l", dest="/o") == ["dir /o 0755 0:0", "file /o/f 0644 0:0 x"]
    assert copy(tree(), source, "/up/m", dest="/o/") == ["dir /o 0755 0:0", "file /o/m 0644 0:0 x"]
    assert copy(tree(), source, "/up", dest="/o") == ["dir /o 0755 0:0", "link /o/m -> ../../../d/f"]
    with pytest.raises(ContextError, match='"/broken": not found'):
        copy(tree(), source, "/broken", dest="/o")


def test_hard_links_stay_within_one_source() -> None:
    source = tree("file /d/f x\nhard /d/g = /d/f")
    assert copy(tree(), source, "/d", dest="/o/")[1:] == ["file /o/f 0644 0:0 x", "file /o/g 0644 0:0 = /o/f"]
    assert copy(tree(), source, "/d/f", "/d/g", dest="/o/")[1:] == ["file /o/f 0644 0:0 x", "file /o/g 0644 0:0 x"]


def test_later_sources_win_and_see_earlier_ones() -> None:
    source = tree("file /x/f 1\nfile /y/f 2\nfile /y/sub/g 3")
    assert copy(tree(), source, "/x/f", "/y", dest="/o/") == [
        "dir /o 0755 0:0",
        "file /o/f 0644 0:0 2",
        "dir /o/sub 0755 0:0",
        "file /o/sub/g 0644 0:0 3",
    ]
    warnings: list[str] = []
    assert copy(tree(), source, "/x/f", "/y/f", dest="/n", warnings=warnings) == ["file /n 0644 0:0 2"]
    assert warnings == ["copy-several-to-file"]


def test_exclude_starts_at_the_copied_directory() -> None:
    source = tree("file /e/a.md 1\nfile /e/b 2\nfile /e/sub/c.md 3\nfile /e/sub/d 4\nfile /top.md 5")
    assert copy(tree(), source, "/e", dest="/o/", exclude=("**/*.md",)) == [
        "dir /o 0755 0:0",
        "file /o/b 0644 0:0 2",
        "dir /o/sub 0755 0:0",
        "file /o/sub/d 0644 0:0 4",
    ]
    assert copy(tree(), source, "/e", dest="/o/", exclude=("sub", "!sub/c.md"))[3:] == [
        "dir /o/sub 0755 0:0",
        "file /o/sub/c.md 0644 0:0 3",
    ]
    assert copy(tree(), source, "/top.md", dest="/o/", exclude=("*.md",))[1:] == ["file /o/top.md 0644 0:0 5"]


def test_parents() -> None:
    source = tree("dir /p 0700\ndir /p/a 0711\nfile /p/a/e x\nfile /p/a/f y\nfile /p/g z")
    assert copy(tree(), source, "/p/a/e", dest="/o/", parents=True) == [
        "dir /o 0755 0:0",
        "dir /o/p 0700 0:0",
        "dir /o/p/a 0711 0:0",
        "file /o/p/a/e 0644 0:0 x",
    ]
    assert copy(tree(), source, "/p/a/e", dest="/o/", parents=True, pivot=1)[1:] == [
        "dir /o/a 0711 0:0",
        "file /o/a/e 0644 0:0 x",
    ]
    assert copy(tree(), source, "/p/**/f", dest="/o/", parents=True)[-1] == "file /o/p/a/f 0644 0:0 y"
    assert copy(tree(), source, "/p/*.nothing", dest="/o/", parents=True) == ["dir /o 0755 0:0"]
    warnings: list[str] = []
    copy(tree(), source, "/p/a/e", "/p/g", dest="/o", parents=True, warnings=warnings)
    assert warnings == []  # what the sources' parents go to is a directory


PARENTS = """
file /e/f 1
file /e/h/g 2
link /ld -> e
link /ll -> ld
link /lf -> e/f
link /away -> nowhere
file /e/sp x
"""


@pytest.mark.parametrize(
    ("path", "pivot", "exclude", "shown", "hint"),
    [
        ("/", 0, (), "/", "here are none"),
        ("/e", 1, (), "/e", "here are none"),
        ("/e/f", 2, (), "/e/f", "here are none"),
        ("/nothere", 0, (), "/nothere", ""),
        ("/e/hh", 0, (), "/e/hh", "did you mean `e/h`?"),
        ("/e/f/x", 0, (), "/e/f/x", ""),
        ("/e/f/x", 2, (), "/e/f/x", ""),
        ("/e/f", 0, ("e/f",), "/e/f", "--exclude leaves it out"),
        ("/e/f", 0, ("**",), "/e/f", "--exclude leaves it out"),
        ("/e", 0, ("e",), "/e", "--exclude leaves it out"),
        ("/e/f", 1, ("f",), "/e/f", "--exclude leaves it out"),
        ("/ld/f", 0, (), "/ld/f", "`ld` is one"),
        ("/ll/h/g", 0, (), "/ll/h/g", "`ll` is one"),
        ("/e/../ld/f", 0, (), "/ld/f", "`ld` is one"),
        ("/e/sp ", 0, (), "/e/sp ", ""),
        ("/!e", 0, (), "/!e", ""),
    ],
)
@pytest.mark.parametrize("others", [(), ("/lf",)])
def test_parents_of_what_gives_nothing(
    path: str, pivot: int, exclude: tuple[str, ...], shown: str, hint: str, others: tuple[str, ...]
) -> None:
    if others and exclude == ("**",):
        others = ()
    sources = (*(PathSource(1, other) for other in others), PathSource(1, clean(path), pivot=pivot))
    op = Copy(sources, "/o/", parents=True, exclude=exclude)
    view = tree(PARENTS)
    digests = FileDigests(None, 0)
    with pytest.raises(ContextError, match=f'^"{shown}": not found') as found:
        lines(plan_copy(op, (tree(), view), tools()))
    assert hint in "".join(found.value.hints)
    with pytest.raises(ContextError, match=f'^"{shown}": not found'):
        copy_digests(op, (tree(), view), tools(), digests)  # so it is refused where a layer would be found, too


@pytest.mark.parametrize(
    ("path", "pivot", "exclude", "last"),
    [
        ("/e/f", 0, ("e/h",), "file /o/e/f 0644 0:0 1"),
        ("/e", 0, ("e/*",), "dir /o/e 0755 0:0"),
        ("/e", 0, ("e", "!e/f"), "file /o/e/f 0644 0:0 1"),
        ("/ld", 0, (), "link /o/ld -> e"),
        ("/away", 0, (), "link /o/away -> nowhere"),
        ("/ld/f", 1, (), "file /o/f 0644 0:0 1"),  # links before `/./` are followed
        ("/ld/h/g", 1, (), "file /o/h/g 0644 0:0 2"),
        ("/e/*", 1, ("**",), "dir /o 0755 0:0"),  # with a wildcard nothing need be there
        ("/n*/f", 0, (), "dir /o 0755 0:0"),
        ("/ld/*", 0, (), "dir /o 0755 0:0"),
    ],
)
def test_parents_of_what_gives_something(path: str, pivot: int, exclude: tuple[str, ...], last: str) -> None:
    op = Copy((PathSource(1, path, pivot=pivot),), "/o/", parents=True, exclude=exclude)
    warnings: list[str] = []
    assert lines(plan_copy(op, (tree(), tree(PARENTS)), tools(warnings)))[-1] == last
    assert warnings == (["copy-nothing-matched"] if last.startswith("dir /o ") else [])
    assert len(copy_digests(op, (tree(), tree(PARENTS)), tools(), FileDigests(None, 0))) == 1


def test_parents_that_exist_take_the_mode_only() -> None:
    root = tree("dir /o 0700 4:4\ndir /o/p 0750 5:5")
    source = tree("dir /p 0711\nfile /p/e x")
    assert copy(root, source, "/p/e", dest="/o/", parents=True) == [
        "dir /o 0700 4:4",
        "dir /o/p 0711 5:5",
        "file /o/p/e 0644 0:0 x",
    ]


def test_texts_and_downloads() -> None:
    download = SingleFile("app.tgz", Entry(kind="file", mode=0o600, mtime_ns=4 * 10**9, size=1), b"x")
    op = Copy((TextSource("one", "1\n"), FileSource(1)), "/o/", chown="3:4")
    assert lines(plan_copy(op, (tree(), download), tools()), times=True) == [
        "dir /o 0755 3:4 @7",
        "file /o/app.tgz 0600 3:4 @4 x",
        "file /o/one 0644 3:4 @7 1",
    ]


def test_git_tree_brings_its_roots_attributes_to_a_new_destination() -> None:
    git = tree("dir / 0700 @5\nfile /README x")
    op = Copy((FileSource(1),), "/o")
    assert lines(plan_copy(op, (tree(), git), tools()), times=True) == [
        "dir /o 0700 0:0 @5",
        "file /o/README 0644 0:0 @0 x",
    ]


def unpack(root: View, *members: Member, dest: str = "/dest/", times: bool = False, **op: Any) -> list[str]:
    archives[ARCHIVE] = list(members)
    source = MemoryView({"x.tar": Entry(kind="file", size=8)}, {"x.tar": ARCHIVE})
    copied = Copy((PathSource(1, "/x.tar"),), dest, unpack="auto", **op)
    return lines(plan_copy(copied, (root, source), tools()), times=times)


def file(path: str, data: str = "x", **fields: Any) -> Member:
    return Member(path, Entry(kind="file", size=len(data), **fields), data.encode())


def link(path: str, target: str) -> Member:
    return Member(path, Entry(kind="symlink", mode=0o777, target=target))


def test_directory_onto_a_directory_brings_its_time() -> None:
    root = tree("dir /ex 1750 3:4 @2\ndir /ex/sub 0700 5:6 @2\ndir /ex/other 0711 @2\nlink /there -> ex")
    source = tree("dir /d 0701 @8\ndir /d/sub 0711 @9\nfile /d/sub/f @1 x\ndir /e 0755 @6")
    expected = [
        "dir /ex 1750 3:4 @8",  # mode and owner stay
        "dir /ex/sub 0711 0:0 @9",  # below it everything is the source's
        "file /ex/sub/f 0644 0:0 @1 x",
    ]
    for dest in ("/ex", "/ex/", "/ex/.", "/there"):
        assert copy(root, source, "/d", dest=dest, times=True) == expected
    assert copy(root, source, "/d", dest="/ex", times=True, exclude=("**",)) == expected[:1]
    # one after the other, and what is chowned
    assert copy(root, source, "/d", "/e", dest="/ex", times=True)[0] == "dir /ex 1750 3:4 @6"
    assert copy(root, source, "/d", dest="/ex", times=True, chown="7", chmod="700")[0] == "dir /ex 1750 3:4 @8"
    # a destination that --link makes, and what --parents begins with
    assert copy(root, source, "/d", dest="/ex", times=True, link=True)[0] == "dir /ex 0755 0:0 @8"
    assert copy(root, source, "/d/sub", dest="/ex", times=True, parents=True, pivot=1)[0] == "dir /ex 1750 3:4 @8"
    # the root is no entry of a layer
    assert copy(root, source, "/e", dest="/") == []
    # a file in it changes nothing of a directory
    assert copy(root, source, "/d/sub/f", dest="/ex", times=True)[0] == "dir /ex 1750 3:4 @2"


def test_archive_members_and_implied_parents() -> None:
    assert unpack(
        tree(),
        Member(".", Entry(kind="dir", mode=0o700, uid=9)),
        file("a/b/c", "c", mode=0o600, uid=7, gid=8),
        Member("l", Entry(kind="file", mode=0o640), None, "a/b/c"),
        chmod="600",
    ) == [
        "dir /dest 0755 0:0",
        "dir /dest/a 0755 0:0",
        "dir /dest/a/b 0755 0:0",
        "file /dest/a/b/c 0640 0:0 c",
        "file /dest/l 0640 0:0 = /dest/a/b/c",
    ]


def test_archive_owner() -> None:
    assert unpack(tree(), file("d/f", uid=7), chown="5:6") == [
        "dir /dest 0755 5:6",
        "dir /dest/d 0755 0:0",
        "file /dest/d/f 0644 5:6 x",
    ]


def test_archive_stays_below_the_destination() -> None:
    assert unpack(tree(), file("../../evil"))[-1] == "file /dest/evil 0644 0:0 x"
    through = (Member("tmp", Entry(kind="dir", mode=0o755)), link("l", "/tmp"), file("l/f"))
    assert unpack(tree("dir /tmp"), *through)[1:] == [
        "link /dest/l -> /tmp",
        "dir /dest/tmp 0755 0:0",
        "file /dest/tmp/f 0644 0:0 x",
    ]
    with pytest.raises(StepFailed, match=r"`x\.tar`: `l/f` lies below a link"):
        unpack(tree("dir /tmp"), link("l", "/tmp"), file("l/f"))
    outside = (file("etc/passwd", "inner"), Member("l", Entry(kind="file", mode=0o644), None, "../etc/passwd"))
    assert unpack(tree("file /etc/passwd outer"), *outside)[-1] == "file /dest/l 0644 0:0 = /dest/etc/passwd"


def test_archive_replaces_what_is_of_another_kind() -> None:
    root = tree("file /dest/top/full x\nfile /dest/f/deep y")
    assert unpack(root, file("top", "t"), file("f"), Member("f", Entry(kind="dir", mode=0o700))) == [
        "dir /dest 0755 0:0",
        "dir /dest/f 0700 0:0",
        "opaque /dest/f",
        "file /dest/top 0644 0:0 t",
    ]


def test_archive_directory_that_a_link_replaced_dates_nothing() -> None:
    """BuildKit's first unpacker set the times of directories last, through such links; its second one fails there."""
    early, late = (Entry(kind="dir", mode=0o755, mtime_ns=seconds * 10**9) for seconds in (3, 8))
    members = (Member("n", early), Member("m", late), link("m", "n"))
    assert unpack(tree(), *members, times=True)[1:] == ["link /dest/m -> n", "dir /dest/n 0755 0:0 @3"]


def test_archive_name_twice_keeps_the_last() -> None:
    assert unpack(tree(), file("f", "first"), file("f", "second"))[1:] == ["file /dest/f 0644 0:0 second"]


def test_hard_link_to_a_file_of_the_root_brings_the_file_along() -> None:
    root = tree("file /dest/old 0600 o")
    assert unpack(root, Member("new", Entry(kind="file", mode=0o640), None, "old"))[1:] == [
        "file /dest/new 0640 0:0 o",
        "file /dest/old 0640 0:0 = /dest/new",
    ]


def test_mkdir_follows_links_and_owns_only_what_is_new() -> None:
    root = tree("dir /srv\nlink /l -> /nowhere\nfile /f x\nfile /etc/passwd mail:x:8:9:::")
    assert lines(plan_mkdir(MakeDir("/srv/app/data", "mail"), root, tools()), times=True) == [
        "dir /srv 0755 0:0 @0",
        "dir /srv/app 0755 8:9 @7",
        "dir /srv/app/data 0755 8:9 @7",
    ]
    assert lines(plan_mkdir(MakeDir("/l/x"), root, tools())) == ["dir /nowhere 0755 0:0", "dir /nowhere/x 0755 0:0"]
    assert lines(plan_mkdir(MakeDir("/srv"), root, tools())) == []
    with pytest.raises(FirkinError, match="mkdir /f: not a directory"):
        plan = plan_mkdir(MakeDir("/f/g"), root, tools())
        lines(plan)


def test_directories_made_below_a_setgid_one_are_setgid_and_of_its_group() -> None:
    root = tree("dir /g 2775 1:7")
    above = "dir /g 2775 1:7"
    made = [above, "dir /g/x 2755 0:7", "dir /g/x/y 2755 0:7"]
    assert copy(root, tree(CONTEXT), "/a.txt", dest="/g/x/y/") == [*made, "file /g/x/y/a.txt 0644 0:0 a"]
    assert lines(plan_mkdir(MakeDir("/g/x/y"), root, tools())) == made
    owned = [above, "dir /g/x 2755 5:6", "dir /g/x/y 2755 5:6"]
    assert copy(root, tree(CONTEXT), "/a.txt", dest="/g/x/y/", chown="5:6")[:3] == owned
    assert lines(plan_mkdir(MakeDir("/g/x/y", "5:6"), root, tools())) == owned
    assert copy(root, tree(CONTEXT), "/d", dest="/g/", exclude=("l", "one"), chmod="700") == [
        above,
        "dir /g/sub 0700 0:0",
        "file /g/sub/two 0700 0:0 2",
    ]
    assert unpack(root, file("i/f"), dest="/g/n/") == [
        above,
        "dir /g/n 2755 0:7",
        "dir /g/n/i 2755 0:0",
        "file /g/n/i/f 0644 0:0 x",
    ]

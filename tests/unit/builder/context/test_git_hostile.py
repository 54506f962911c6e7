"""Repositories that mean harm: few bytes that stand for many files, packs that git would never write."""

from __future__ import annotations

import hashlib
import os
import random
import time
import tracemalloc
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from struct import pack as packed

import pytest
from dulwich.objects import Commit, ObjectID
from dulwich.repo import Repo
from support.git_packs import (
    BLOB,
    COMMIT,
    ID_DELTA,
    OFFSET_DELTA,
    TREE,
    Repository,
    back,
    copy_all,
    delta,
    entry,
    id_of,
    pack_of,
)

from firkin.builder.context.git_directory import Kept, write_git_directory
from firkin.builder.context.git_objects import Objects
from firkin.builder.context.git_pack import Budget, Pack
from firkin.builder.context.git_view import FAILURES, GitView
from firkin.errors import ContextError
from firkin.hints import Hint
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.tar import LimitReached

SMALL = UnpackLimits(size_bytes=64 << 20, entries=10_000)


def open_pack(place: Path, data: bytes, limits: UnpackLimits = UNPACK_LIMITS) -> Pack:
    path = place / f"{os.urandom(4).hex()}.pack"
    path.write_bytes(data)
    return Pack(str(path), 20, Budget(limits, "a pack"))


def content(pack: Pack, sha: bytes) -> bytes:
    return b"".join(pack.pieces(pack.ids[sha]))


# trees


@pytest.mark.parametrize(("levels", "width"), [(10, 10), (8, 10), (2000, 2), (60, 1000)])
def test_a_tree_without_end_is_counted_and_refused(tmp_path: Path, levels: int, width: int) -> None:
    repository = Repository()
    commit = repository.bomb(levels, width)
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(LimitReached, match="more than the 10000000 entries that a git tree may have") as caught:
            repository.open(tmp_path / "r", commit)
        assert time.monotonic() - began < 10
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.hint == Hint.of("unpack-entries")


def test_what_the_limit_allows_is_opened(tmp_path: Path) -> None:
    repository = Repository()
    commit = repository.bomb(3, 10)
    view = repository.open(tmp_path / "a", commit, UnpackLimits(entries=1110))
    assert view.total[:3] == (1110, 1000, 1000)
    assert view.content("3/4/5") == b"x"
    with pytest.raises(LimitReached, match="1109 entries"):
        repository.open(tmp_path / "b", commit, UnpackLimits(entries=1109))
    assert repository.open(tmp_path / "c", commit, UnpackLimits(entries=0)).total.entries == 1110


def test_one_file_under_many_names_counts_each_time(tmp_path: Path) -> None:
    repository = Repository()
    commit = repository.bomb(1, 10_000, bytes(1 << 20))
    with pytest.raises(LimitReached, match="more than the 1073741824 bytes that a git tree may have") as caught:
        repository.open(tmp_path / "r", commit, UnpackLimits(size_bytes=1 << 30))
    assert caught.value.hint == Hint.of("unpack-size")
    view = repository.open(tmp_path / "s", commit)
    assert view.total.size == 10_000 << 20
    assert len({view.content(f"{number}") for number in range(10)}) == 1, "one copy of it is made"


def test_paths_are_no_longer_than_file_systems_take(tmp_path: Path) -> None:
    for number, (levels, name) in enumerate([(5000, b"d"), (20, b"n" * 250)]):
        repository = Repository()
        below, mode = repository.add(BLOB, b"x"), 0o100644
        for _ in range(levels):
            below, mode = repository.tree((mode, name, below)), 0o040000
        with pytest.raises(ContextError, match="4095 are the most"):
            repository.open(tmp_path / f"{number}", repository.commit(below))
    repository = Repository()
    below, mode = repository.add(BLOB, b"x"), 0o100644
    for _ in range(2000):
        below, mode = repository.tree((mode, b"d", below)), 0o040000
    view = repository.open(tmp_path / "deep", repository.commit(below))
    assert view.content("/".join(["d"] * 2000)) == b"x"
    assert list(view.files()) == [(b"/".join([b"d"] * 2000), 0o100644, ObjectID(id_of(BLOB, b"x").hex().encode()))]


def test_a_long_path_through_a_shared_tree(tmp_path: Path) -> None:
    """The tree that is met first by a short way is too deep by another one."""
    repository = Repository()
    below, mode = repository.add(BLOB, b"x"), 0o100644
    for _ in range(8):
        below, mode = repository.tree((mode, b"n" * 250, below)), 0o040000
    shared = below
    for _ in range(9):
        below = repository.tree((0o040000, b"m" * 250, below))
    root = repository.tree((0o040000, b"a", shared), (0o040000, b"b", below))
    with pytest.raises(ContextError, match="4095 are the most"):
        repository.open(tmp_path / "r", repository.commit(root))


def test_entries_are_what_their_modes_say(tmp_path: Path) -> None:
    repository = Repository()
    blob, tree = repository.add(BLOB, b"x"), repository.tree()
    for number, entries in enumerate(
        [(0o100644, b"f", tree), (0o120000, b"l", tree), (0o040000, b"d", blob), (0o100644, b"gone", bytes(20)),
         (0o040000, b"gone", bytes(20))]
    ):  # fmt: skip
        commit = repository.commit(repository.tree(entries))
        with pytest.raises(ContextError, match="the git repository is damaged: object"):
            repository.open(tmp_path / f"{number}", commit)


def test_a_kept_git_directory_lists_all_names_of_a_shared_tree(tmp_path: Path) -> None:
    repository = Repository()
    commit = repository.bomb(4, 6)
    view = repository.open(tmp_path / "r", commit)
    tracemalloc.start()
    try:
        write_git_directory(view, Kept("https://h/x", commit.decode(), "", 1), str(tmp_path / "w" / ".git"))
    finally:
        tracemalloc.stop()
    with Repo(str(tmp_path / "w")) as repo:
        names = list(repo.open_index())
        assert len(names) == 6**4
        assert names == sorted(names)


def test_names_are_sorted_as_an_index_wants(tmp_path: Path) -> None:
    repository = Repository()
    blob = repository.add(BLOB, b"x")
    inner = repository.tree((0o100644, b"z", blob))
    root = repository.tree((0o040000, b"a", inner), (0o100644, b"a-b", blob), (0o100644, b"a.c", blob))
    view = repository.open(tmp_path / "r", repository.commit(root))
    names = [name for name, _, _ in view.files()]
    assert names == sorted(names) == [b"a-b", b"a.c", b"a/z"]


def test_attributes_of_a_shared_tree_are_read_once(tmp_path: Path) -> None:
    repository = Repository()
    blob = repository.add(BLOB, b"a\n")
    rules = repository.add(BLOB, b"".join(b"*.%d -text\n" % number for number in range(300)) + b"f eol=crlf\n")
    below, mode = repository.tree((0o100644, b".gitattributes", rules), (0o100644, b"f", blob)), 0o040000
    for _ in range(3):
        below = repository.tree(*((mode, b"%d" % number, below) for number in range(10)))
    view = repository.open(tmp_path / "r", repository.commit(below))
    began = time.monotonic()
    assert {view.content(f"{a}/{b}/{c}/f") for a in range(10) for b in range(10) for c in range(10)} == {b"a\r\n"}
    assert time.monotonic() - began < 20


def test_attributes_have_a_limit_together(tmp_path: Path) -> None:
    repository = Repository()
    blob = repository.add(BLOB, b"a\n")
    trees = []
    for number in range(20):
        rules = repository.add(BLOB, b"#%d" % number + bytes((1 << 20) - 100))
        trees.append(repository.tree((0o100644, b".gitattributes", rules), (0o100644, b"f", blob)))
    root = repository.tree(*((0o040000, b"%d" % number, tree) for number, tree in enumerate(trees)))
    view = repository.open(tmp_path / "r", repository.commit(root))
    with pytest.raises(ContextError, match="gitattributes is too large"):
        for number in range(20):
            view.lstat(f"{number}/f")
    large = repository.add(BLOB, bytes(2 << 20))
    commit = repository.commit(repository.tree((0o100644, b".gitattributes", large), (0o100644, b"f", blob)))
    with pytest.raises(ContextError, match="gitattributes is too large"):
        repository.open(tmp_path / "s", commit).content("f")


# large objects


def test_a_large_file_is_never_held(tmp_path: Path) -> None:
    repository = Repository()
    data = bytes(96 << 20)
    rules = repository.add(BLOB, b"* text=auto\n*.win eol=crlf\n")
    blob = repository.add(BLOB, data)
    root = repository.tree((0o100644, b".gitattributes", rules), (0o100644, b"f", blob))
    commit = repository.commit(root)
    place = tmp_path / "r"
    objects = Objects(str(place), 20, Budget(UNPACK_LIMITS, "x"))
    (place / "p").write_bytes(pack_of(*(entry(*item) for item in repository.objects.values())))
    tracemalloc.start()
    try:
        objects.add_pack(str(place / "p"))
        view = GitView(objects, objects.commit(commit), Budget(UNPACK_LIMITS, "x"))
        found = view.lstat("f")
        assert found is not None and found.size == len(data)
        path = view.content("f")
        write_git_directory(view, Kept("https://h/x", commit.decode(), "", 1), str(tmp_path / "w" / ".git"))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(path, str)
    assert Path(path).read_bytes() == data
    with Repo(str(tmp_path / "w")) as repo:
        assert repo.object_store[ObjectID(blob.hex().encode())].as_raw_string() == data


def test_a_large_file_is_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firkin.builder.context.git_view._MAX_CONVERTED_BYTES", 1 << 20)
    repository = Repository()
    rules, blob = repository.add(BLOB, b"* eol=crlf\n"), repository.add(BLOB, b"\n" * (1 << 20) + b"\n")
    small = repository.add(BLOB, b"\n" * (1 << 19))
    root = repository.tree((0o100644, b".gitattributes", rules), (0o100644, b"f", blob), (0o100644, b"s", small))
    view = repository.open(tmp_path / "r", repository.commit(root))
    with pytest.raises(ContextError, match="converted, which is done up to 1048576 bytes"):
        view.content("f")
    path, found = view.content("s"), view.lstat("s")
    assert isinstance(path, str) and found is not None
    assert Path(path).read_bytes() == b"\r\n" * (1 << 19)
    assert found.size == 1 << 20


def test_contents_are_not_given_as_bytes_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step may hold all that it is given."""
    monkeypatch.setattr("firkin.builder.context.git_view._HELD", 1000)
    repository = Repository()
    view = repository.open(tmp_path / "r", repository.bomb(1, 100, b"y" * 100))
    given = [view.content(f"{number}") for number in range(100)]
    assert sum(len(item) for item in given if isinstance(item, bytes)) <= 1100
    assert {Path(item).read_bytes() for item in given if isinstance(item, str)} == {b"y" * 100}


def test_large_trees_and_links_are_not_read(tmp_path: Path) -> None:
    repository = Repository()
    link = repository.add(BLOB, b"x" * 5000)
    view = repository.open(tmp_path / "a", repository.commit(repository.tree((0o120000, b"l", link))))
    found = view.lstat("l")
    assert found is not None and found.target == "", "no link: who checks links refuses it"
    big = repository.add(TREE, bytes(65 << 20))
    with pytest.raises(ContextError, match="is too large: 68157440 bytes"):
        repository.open(tmp_path / "b", repository.commit(big))


# packs


def test_differences_of_both_kinds(tmp_path: Path) -> None:
    base = b"0123456789" * 100
    one = delta(1000, 1003, copy_all(1000), b"\x03abc")
    two = delta(1003, 13, b"\x90\x0a", b"\x03xyz")
    first, second = base + b"abc", base[:10] + b"xyz"
    whole = entry(BLOB, base)
    by_offset = entry(OFFSET_DELTA, one, back(len(whole)))
    by_id = entry(ID_DELTA, two, id_of(BLOB, first))
    for entries in ((whole, by_offset, by_id), (by_id, whole, by_offset)):
        pack = open_pack(tmp_path, pack_of(*entries))
        assert {content(pack, id_of(BLOB, data)) == data for data in (base, first, second)} == {True}
        assert pack.size(pack.ids[id_of(BLOB, second)]) == 13
        assert pack.kind(pack.ids[id_of(BLOB, second)]) == BLOB


def test_packs_that_are_none(tmp_path: Path) -> None:
    blob = entry(BLOB, b"abc")
    wrong: Sequence[tuple[bytes, str]] = (
        (b"", "cut short"),
        (b"PACK" + bytes(40), "no pack"),
        (b"JUNK" + pack_of(blob)[4:], "no pack"),
        (pack_of(blob)[:-1] + b"\0", "checksum"),
        (pack_of(blob, blob, number_of=1), "more than its objects"),
        (pack_of(blob, number_of=2), "."),
        (pack_of(blob, number_of=0xFFFFFFFF), "."),
        (pack_of(entry(BLOB, b"abc", size=2)), "larger than it says"),
        (pack_of(entry(BLOB, b"abc", size=4)), "smaller than it says"),
        (pack_of(entry(BLOB, b"abc", size=1 << 61)), "."),
        (pack_of(entry(0, b"abc")), "unknown kind"),
        (pack_of(entry(5, b"abc")), "unknown kind"),
        (pack_of(b"\xff" * 5000), "."),
        (pack_of(b"\xb0" + b"\xff" * 5000 + b"\0"), "no number"),
        (pack_of(b"\xe0\x00" + b"\xff" * 5000 + b"\0"), "to no object"),
        (pack_of(entry(OFFSET_DELTA, delta(1, 1, b"\x01x"), b"\0")), "to no object"),
        (pack_of(entry(OFFSET_DELTA, delta(1, 1, b"\x01x"), b"\x05")), "to no object"),
        (pack_of(blob, entry(OFFSET_DELTA, delta(1, 1, b"\x01x"), back(1))), "to no object"),
        (pack_of(blob, entry(ID_DELTA, delta(3, 1, b"\x01x"), bytes(20))), "not in the pack"),
        (pack_of(blob, entry(OFFSET_DELTA, delta(4, 1, b"\x01x"), back(len(blob)))), "to another object"),
        (pack_of(blob, entry(OFFSET_DELTA, b"", back(len(blob)))), "cut short"),
        (pack_of(blob, entry(OFFSET_DELTA, b"\xff" * 30, back(len(blob)))), "cut short"),
        (pack_of(blob, entry(OFFSET_DELTA, delta(3, 1 << 50, b"\x01x"), back(len(blob)))), "as a difference"),
        (pack_of(blob, entry(OFFSET_DELTA, delta(3, 9, b"\x93\x01\x09"), back(len(blob)))), "."),
        (pack_of(blob, entry(OFFSET_DELTA, delta(3, 9, b"\0"), back(len(blob)))), "."),
    )
    for data, why in wrong:
        with pytest.raises(FAILURES, match=why):
            open_pack(tmp_path, data)


def test_packs_that_are_damaged_anywhere(tmp_path: Path) -> None:
    base = random.Random(7).randbytes(300)
    whole = entry(BLOB, base)
    entries = whole + entry(OFFSET_DELTA, delta(300, 303, copy_all(300), b"\x03abc"), back(len(whole)))
    chance = random.Random(1)
    for _ in range(2000):
        body = bytearray(b"PACK" + packed(">II", 2, 2) + entries)
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(12, len(body))] = chance.randrange(256)
        del body[chance.choice([len(body), chance.randrange(13, len(body))]) :]
        try:
            pack = open_pack(tmp_path, bytes(body) + hashlib.sha1(body).digest(), SMALL)
        except FAILURES:
            continue
        for sha in pack.ids:  # what is accepted is what its id says
            data = content(pack, sha)
            assert sha == id_of(pack.kind(pack.ids[sha]), data) or pack.kind(pack.ids[sha]) == 4


def test_a_bomb_of_differences_reaches_the_limit(tmp_path: Path) -> None:
    """Each doubles the one before, in a few bytes."""
    size = 1 << 14
    entries = [entry(BLOB, bytes(size))]
    for _ in range(14):
        step = min(size, 1 << 23)
        copies = [b"\xff" + at.to_bytes(4, "little") + step.to_bytes(3, "little") for at in range(0, size, step)]
        entries.append(entry(OFFSET_DELTA, delta(size, 2 * size, *copies * 2), back(len(entries[-1]))))
        size *= 2
    with pytest.raises(LimitReached, match="67108864 bytes that a pack may have"):
        open_pack(tmp_path, pack_of(*entries), SMALL)


def test_whole_objects_reach_the_limit(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(LimitReached, match="67108864 bytes that a pack may have"):
            open_pack(tmp_path, pack_of(*[entry(BLOB, bytes(8 << 20))] * 10), SMALL)
        with pytest.raises(LimitReached, match="10000 entries that a pack may have"):
            open_pack(tmp_path, pack_of(*[entry(BLOB, b"%d" % number) for number in range(10_001)]), SMALL)
    finally:
        tracemalloc.stop()


def test_chains_of_differences_end(tmp_path: Path) -> None:
    for length, refused in ((4095, False), (4096, True)):
        entries = [entry(BLOB, b"abc")]
        for number in range(length):
            change = delta(3, 3, b"\x03" + number.to_bytes(3, "big"))
            entries.append(entry(OFFSET_DELTA, change, back(len(entries[-1]))))
        if refused:
            with pytest.raises(ValueError, match="a chain of more than 4095 differences"):
                open_pack(tmp_path, pack_of(*entries))
        else:
            pack = open_pack(tmp_path, pack_of(*entries))
            assert content(pack, id_of(BLOB, (4094).to_bytes(3, "big"))) == (4094).to_bytes(3, "big")


def test_many_differences_to_one_object_hold_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firkin.builder.context.git_pack._HELD", 4 << 20)
    size = 1 << 20
    entries = [entry(BLOB, bytes(size))]
    for number in range(30):  # a comb: each is the base of the next, and of one that is the base of none
        distance = len(entries[-1]) + (len(entries[-2]) if number else 0)
        made = []
        for kind in (b"base", b"none"):
            made.append(delta(size, size + 8, copy_all(size), b"\x08" + kind + number.to_bytes(4, "big")))
        entries.append(entry(OFFSET_DELTA, made[0], back(distance)))
        distance += len(entries[-1])
        entries.append(entry(OFFSET_DELTA, made[1], back(distance)))
        size += 8
    tracemalloc.start()
    try:
        pack = open_pack(tmp_path, pack_of(*entries))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert len(pack.ids) == 61


def test_a_commit_has_its_own_type(tmp_path: Path) -> None:
    repository = Repository()
    numbers = count()
    for sha in (repository.add(BLOB, b"x"), repository.tree()):
        with pytest.raises(FAILURES):
            repository.open(tmp_path / f"{next(numbers)}", ObjectID(sha.hex().encode()))
    tree = repository.tree().hex().encode()
    for text in (b"tree %b\n\nm\n" % tree, b"tree %b\nauthor A <a@b> 1 +0000\n\nm\n" % tree, b"\n", b"tree \n\n"):
        with pytest.raises((*FAILURES, ContextError)):
            place = tmp_path / f"{next(numbers)}"
            repository.open(place, ObjectID(repository.add(COMMIT, text).hex().encode()))
    text = b"tree " + b"0" * 40 + b"\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nm\n"
    commit = Commit.from_string(text)
    with pytest.raises(ContextError, match="the git repository is damaged"):
        repository.open(tmp_path / "c", ObjectID(repository.add(COMMIT, commit.as_raw_string()).hex().encode()))

"""Indexes of layers: small, found by bisection, one meaning per path."""

import io
import random
from pathlib import Path

import msgspec
import pytest

from firkin.layer.change import Change, Entry, Opaque, Put, Remove
from firkin.layer.index import IndexRecord, IndexWriter, LayerIndex, open_index
from firkin.layer.scan import iter_upper_changes


def index_of(path: Path, changes: list[Change]) -> LayerIndex:
    writer = IndexWriter()
    for change in changes:
        writer.add(change)
    with path.open("wb") as file:
        writer.write(file)
    return open_index(str(path))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_a_tree_comes_back(source: Path, place: Path) -> None:
    changes = list(iter_upper_changes(str(source)))
    shuffled = changes[:]
    random.Random(1).shuffle(shuffled)
    with index_of(place, shuffled) as index:
        assert len(index) == len(changes)
        assert [record.path for record in index.iter()] == [change.path for change in changes]
        for change in changes:
            assert isinstance(change, Put)
            record = index.lookup(change.path)
            assert record is not None
            assert record.entry is not None
            assert record.link == change.link
            assert msgspec.structs.replace(record.entry, inode=None) == msgspec.structs.replace(
                change.entry, inode=None
            )
        first, second = (index.lookup(path) for path in ("d/file", "z-hard"))
        assert first.entry.inode == second.entry.inode is not None  # type: ignore[union-attr]
        assert [record.path for record in index.iter("d/sub")] == ["d/sub", "d/sub/link"]
        assert list(index.children("d/sub")) == [("link", False)]
        assert [name for name, _ in index.children("")] == sorted(
            {change.path.split("/")[0] for change in changes}, key=lambda name: name.encode("utf-8", "surrogateescape")
        )
        assert index.lookup("nothing") is None
        assert index.lookup("d/fil") is None
        assert index.lookup("d/file/x") is None


def test_order_of_observation_does_not_show(source: Path) -> None:
    changes = list(iter_upper_changes(str(source)))
    found = set()
    for seed in range(3):
        random.Random(seed).shuffle(changes)
        writer = IndexWriter()
        for change in changes:
            writer.add(change)
        buffer = io.BytesIO()
        writer.write(buffer)
        found.add(buffer.getvalue())
    assert len(found) == 1


DIR, FILE = Entry("dir", 0o700), Entry("file", 0o600)
IMPLIED = Entry("dir", 0o755)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ([Remove("a")], IndexRecord("a", None)),
        ([Put("a", DIR), Opaque("a")], IndexRecord("a", DIR, opaque=True)),
        ([Opaque("a"), Put("a", DIR)], IndexRecord("a", DIR, opaque=True)),
        ([Opaque("a")], IndexRecord("a", IMPLIED, opaque=True, implied=True)),
        ([Remove("a"), Put("a", DIR)], IndexRecord("a", DIR, opaque=True)),
        ([Put("a", DIR), Remove("a")], IndexRecord("a", DIR, opaque=True)),
        ([Remove("a"), Put("a", FILE)], IndexRecord("a", FILE)),
        ([Put("a", FILE), Remove("a")], IndexRecord("a", FILE)),
        ([Remove("a"), Put("a/b", FILE)], IndexRecord("a", IMPLIED, opaque=True, implied=True)),
        ([Put("a/b", FILE)], IndexRecord("a", IMPLIED, implied=True)),
        ([Put("a", FILE), Put("a", DIR)], IndexRecord("a", DIR)),
        ([Put("a", DIR), Put("a", FILE)], IndexRecord("a", FILE)),
        ([Put("a-b", FILE)], None),
    ],
)
def test_what_a_layer_says_of_a_path(changes: list[Change], wanted: IndexRecord | None, place: Path) -> None:
    with index_of(place, changes) as index:
        assert index.lookup("a") == wanted


def test_empty_and_root(place: Path) -> None:
    with index_of(place, []) as index:
        assert len(index) == 0
        assert index.lookup("a") is None
        assert list(index.children("")) == []
        assert list(index.iter()) == []
    with index_of(place, [Put("", DIR), Put("b", FILE), Put("a", FILE)]) as index:
        assert index.lookup("") == IndexRecord("", DIR)
        assert list(index.children("")) == [("a", False), ("b", False)]


def test_times_that_do_not_fit(place: Path) -> None:
    with index_of(place, [Put("a", Entry("file", mtime_ns=10**20)), Put("b", Entry("file", mtime_ns=-5))]) as index:
        assert index.lookup("a") == IndexRecord("a", Entry("file", mtime_ns=(1 << 63) - 1))
        assert index.lookup("b") == IndexRecord("b", Entry("file", mtime_ns=-5))


def test_siblings_that_share_a_start(place: Path) -> None:
    names = ["a", "a/x", "a-b", "a.b/c", "ab", "a\x01b", "a/y/z", "a/y", "a.b"]
    with index_of(place, [Put(name, DIR) for name in names]) as index:
        assert [name for name, _ in index.children("")] == ["a", "a\x01b", "a-b", "a.b", "ab"]
        assert [name for name, _ in index.children("a")] == ["x", "y"]


def test_a_file_costs_little(place: Path) -> None:
    changes: list[Change] = [
        Put(f"usr/lib/python3/dist-packages/some/module{at}.py", Entry("file", size=at)) for at in range(5000)
    ]
    with index_of(place, changes) as index:
        assert len(index) == 5000
    assert place.stat().st_size / 5000 < 110


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"firkin index 1\n\0", b"firkin index 1\n\0" + b"\xff" * 8])
def test_what_is_no_index(place: Path, data: bytes) -> None:
    place.write_bytes(data)
    with pytest.raises(ValueError, match="no layer index"):
        open_index(str(place))

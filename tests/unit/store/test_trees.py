"""Trees that are being made: they get their name when they are whole, or they are gone."""

import os

import pytest

from firkin.layer.change import Entry, Put
from firkin.layer.index import IndexWriter
from firkin.store.store import Store

KEY = "a" * 64


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "store"), lambda: 1.0) as opened:
        yield opened


def test_a_sealed_tree_has_its_name_and_is_recorded(store):
    with store.stage_tree() as staged:
        with open(f"{staged.path}/file", "w") as file:
            file.write("x")
        assert not store.trees.has(KEY)
        staged.seal(KEY)
    assert os.listdir(store.trees.path(KEY)) == ["file"]
    assert store.records.query("SELECT id FROM trees") == [(KEY,)]
    assert os.listdir(store.layout.scratch) == []


def test_an_error_leaves_nothing(store):
    with pytest.raises(KeyError), store.stage_tree() as staged:
        with open(f"{staged.path}/file", "w") as file:
            file.write("x")
        raise KeyError
    assert os.listdir(store.layout.scratch) == os.listdir(store.layout.trees) == []
    assert store.records.query("SELECT id FROM trees") == []


def test_what_lies_beside_a_tree(store):
    index = IndexWriter()
    index.add(Put("file", Entry("file")))
    with store.stage_tree() as staged:
        staged.write_index(index)
        staged.mark_root_changed()
        staged.seal(KEY)
    with store.stage_tree() as staged:
        staged.seal("b" * 64)
    with_both, bare = store.trees.path(KEY), store.trees.path("b" * 64)
    assert store.trees.root_changed(with_both)
    assert not store.trees.root_changed(bare)
    assert store.trees.index_beside(bare) is None
    assert os.path.getsize(store.trees.index_beside(with_both)) > 0
    assert os.listdir(with_both) == []

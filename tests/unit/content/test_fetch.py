"""The one loop that moves blobs, and what it leaves when it fails."""

import io
import os

import pytest
from support.pulled import blob_of, file, layer

from firkin.content.fetch import copy_chunks, keep_blob, verified
from firkin.errors import Cancelled
from firkin.tasks.cancel import Cancel

MADE, BLOB = blob_of(layer(file("f")))


def test_chunks_are_counted_as_they_are_written():
    target, seen = io.BytesIO(), []
    copy_chunks([b"abc", b"de"], target, Cancel(), seen.append)
    assert target.getvalue() == b"abcde"
    assert seen == [3, 5]


def test_a_stop_is_seen_between_chunks():
    target, cancel = io.BytesIO(), Cancel()
    with pytest.raises(Cancelled):
        copy_chunks([b"abc", b"de"], target, cancel, lambda done: cancel.set(15))
    assert target.getvalue() == b"abc"


def test_a_kept_blob_stands_under_its_digest(store):
    keep_blob(store, MADE.descriptor, verified([BLOB[:9], BLOB[9:]], MADE.descriptor), Cancel())
    assert store.blobs.read(MADE.descriptor.digest) == BLOB
    assert store.keeps(MADE.descriptor)


@pytest.mark.parametrize("wrong", [b"", BLOB[:-1], BLOB + b"x"])
def test_a_wrong_blob_leaves_nothing(store, wrong):
    with pytest.raises(ValueError, match="bytes"):
        keep_blob(store, MADE.descriptor, verified([wrong], MADE.descriptor), Cancel())
    assert store.blobs.size(MADE.descriptor.digest) is None
    assert os.listdir(store.layout.scratch) == []

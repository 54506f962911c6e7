"""What other processes do to a store at the worst moment: nothing is lost, and nobody fails."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
import time

import pytest

from firkin.errors import StoreError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of
from firkin.oci.reference import parse_reference
from firkin.store import layout
from firkin.store.gc import prune
from firkin.store.layout import StoreLayout
from firkin.store.store import Store

OLD = 86400.0


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def store(root):
    with Store(root, time.time) as opened:
        yield opened


def manifest_of(store: Store, text: bytes = b"manifest") -> Descriptor:
    return Descriptor(media.OCI_MANIFEST, store.blobs.put(text), len(text))


def age(path: str) -> None:
    os.utime(path, (time.time() - OLD, time.time() - OLD))


def test_a_new_store_that_another_process_has_used_meanwhile_keeps_its_images(root):
    late = StoreLayout(root)
    assert late._prepare() == 0  # it finds no store ...
    with Store(root, time.time) as store:  # ... while another makes it, and names an image
        store.images.tag(manifest_of(store), (parse_reference("app:1"),))
        late._take_scratch()
        late._begin()
        assert [image.name for image in store.images.entries()] == ["docker.io/library/app:1"]
    late.__exit__(None, None, None)
    assert os.listdir(f"{root}/tmp") == []


def test_scratch_that_is_swept_before_it_is_locked_is_taken_anew(root, monkeypatch):
    calls = []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            for name in os.listdir(f"{root}/tmp"):
                os.unlink(f"{root}/tmp/{name}")
        calls.append(operation)
        lock(descriptor, operation)

    lock = fcntl.flock
    opened = StoreLayout(root)
    opened._prepare()
    monkeypatch.setattr(layout.fcntl, "flock", flock)
    opened._take_scratch()
    monkeypatch.undo()
    assert len(calls) == 2
    assert os.path.exists(opened.scratch + ".lock")
    opened.__exit__(None, None, None)


def test_scratch_that_cannot_be_removed_is_in_nobodys_way(root, monkeypatch):
    with Store(root, time.time):
        pass
    os.mkdir(f"{root}/tmp/1-dead")
    open(f"{root}/tmp/1-dead.lock", "w").close()

    def refuse(path: str) -> None:
        if path.endswith("dead"):
            raise PermissionError(1, "not yours", path)
        remove(path)

    remove = layout.remove_tree
    monkeypatch.setattr(layout, "remove_tree", refuse)
    with Store(root, time.time):
        assert os.path.exists(f"{root}/tmp/1-dead")
    monkeypatch.undo()
    with Store(root, time.time):
        assert not os.path.exists(f"{root}/tmp/1-dead")


def test_a_store_that_cannot_be_begun_holds_no_lock(root, monkeypatch):
    def fail(self: StoreLayout) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(StoreLayout, "_begin", fail)
    with pytest.raises(StoreError) as caught:
        StoreLayout(root).__enter__()
    assert caught.value.code == "disk-full"
    monkeypatch.undo()
    with Store(root, time.time) as store:
        assert os.listdir(f"{root}/tmp") != [] and store.images.entries() == ()
    assert os.listdir(f"{root}/tmp") == []


def test_what_a_killed_trial_left_is_swept(root):
    with Store(root, time.time):
        pass
    for name in ("trial-1-root", "trial-2-root"):
        os.makedirs(f"{root}/{name}/work/work")
    age(f"{root}/trial-1-root")
    with Store(root, time.time):
        assert not os.path.exists(f"{root}/trial-1-root")
        assert os.path.exists(f"{root}/trial-2-root")


def test_a_reserve_is_kept_and_given_up(root):
    with Store(root, time.time) as store:
        assert os.stat(f"{root}/reserve").st_blocks * 512 >= layout.RESERVE_BYTES
        layout.give_up_reserve(root)
        layout.give_up_reserve(root)
        assert not os.path.exists(f"{root}/reserve")
        store.layout.set_aside()
        assert os.path.exists(f"{root}/reserve")


def test_a_database_that_cannot_grow_tells_of_a_full_disk(store, monkeypatch):
    error = sqlite3.OperationalError("disk I/O error")
    assert store.records._failed(error).code == "store-database"
    monkeypatch.setattr("firkin.store.database.is_full", lambda root: True)
    assert store.records._failed(error).code == "disk-full"


def test_a_blob_takes_the_place_of_one_that_was_cut_short(store):
    digest = store.blobs.put(b"content")
    with open(store.blobs.path(digest), "wb") as file:
        file.write(b"con")
    assert store.blobs.put(b"content") == digest
    assert store.blobs.read(digest) == b"content"


def test_what_a_removed_database_left_is_not_taken_up(root):
    with Store(root, time.time) as store:
        store.records.add_tree("1" * 64)
        path = os.path.realpath(store.layout.database)
        shutil.copy(f"{path}-wal", f"{path}-kept")
    os.rename(f"{path}-kept", f"{path}-wal")
    os.unlink(path)
    with Store(root, time.time) as store:
        assert store.records.query("SELECT count(*) FROM trees") == [(0,)]
        assert store.records.query("PRAGMA integrity_check") == [("ok",)]
        path = os.path.realpath(store.layout.database)
    left = sorted(name for name in os.listdir(root) if name.startswith("records"))
    assert left == sorted([os.path.basename(path), "records.db", "records.db.lock"])


@pytest.mark.parametrize("name", ["a?b", "a%23b", "a#b", "a b\n", "ä", "a%", "a?mode=memory"])
def test_a_store_may_have_any_name(tmp_path, name):
    with Store(str(tmp_path / name), time.time) as store:
        store.records.add_tree("1" * 64)
    with Store(str(tmp_path / name), time.time) as store:
        assert store.records.query("SELECT id FROM trees") == [("1" * 64,)]
    assert os.listdir(tmp_path) == [name]


def test_an_image_whose_manifest_went_gets_no_name(store):
    gone = Descriptor(media.OCI_MANIFEST, Digest("sha256:" + "0" * 64), 5)
    with pytest.raises(StoreError) as caught:
        store.images.tag(gone, (parse_reference("app:1"),))
    assert caught.value.code == "image-gone"
    assert store.images.entries() == ()


def test_dropping_unnamed_images_keeps_names(store):
    first, second = manifest_of(store), manifest_of(store, b"other")
    store.images.tag(first, ())
    store.images.tag(second, ())
    store.images.tag(first, (parse_reference("app:1"),))
    assert store.images.drop_unnamed(dry=True) == (second.digest,)
    assert len(store.images.entries()) == 2
    assert store.images.drop_unnamed() == (second.digest,)
    assert [image.name for image in store.images.entries()] == ["docker.io/library/app:1"]


def test_unnamed_images_have_an_age_too(store):
    for data, used in ((b"old", time.time() - 10 * 86400), (b"new", time.time())):
        image = manifest_of(store, data)
        store.images.tag(image, ())
        os.utime(store.layout.blob_path(image.digest), (used, used))
    assert len(store.images.drop_unnamed(time.time() - 7 * 86400)) == 1
    assert [entry.descriptor.digest for entry in store.images.entries()] == [image.digest]
    assert store.images.drop_unnamed() == (image.digest,)
    assert store.images.entries() == ()


def test_prune_leaves_what_a_build_has_just_looked_at(store):
    data = b"a layer of a base"
    descriptor = Descriptor(media.OCI_LAYER, store.blobs.put(data), len(data))
    old = time.time() - OLD
    with store.records.transaction() as connection:
        connection.execute("INSERT INTO blobs VALUES (?, ?, ?)", (descriptor.digest, len(data), old))
        connection.execute("INSERT INTO trees VALUES (?, 0, ?)", ("2" * 64, old))
    os.makedirs(f"{store.layout.trees}/{'2' * 64}/fs")
    assert {item.kind for item in prune(store, now=time.time(), dry=True).freed} == {"blob", "layer"}
    assert store.keeps(descriptor)
    store.records.use_trees(("2" * 64, "3" * 64))
    assert prune(store, now=time.time()).freed == ()
    assert store.blobs.read(descriptor.digest) == data and store.trees.has("2" * 64)
    assert not store.keeps(Descriptor(media.OCI_LAYER, digest_of(b"another"), 7))
    assert not store.keeps(Descriptor(media.OCI_LAYER, descriptor.digest, 3))


def test_prune_takes_indexes_by_their_last_use(store):
    for name in ("old", "new"):
        with open(f"{store.layout.indexes}/{name}", "wb") as file:
            file.write(b"index")
    age(f"{store.layout.indexes}/old")
    assert [item.name for item in prune(store, now=time.time(), older_than_s=3600).freed] == ["old"]
    assert os.listdir(store.layout.indexes) == ["new"]


def test_prunes_side_by_side_share_the_work(root):
    later = time.time() + OLD
    with Store(root, time.time) as store:
        for number in range(60):
            os.makedirs(f"{store.layout.trees}/{number:064}/fs")
            for place in (store.layout.digests, store.layout.indexes, store.layout.downloads):
                with open(f"{place}/{number}.json", "wb"):
                    pass
            store.blobs.put(b"%d" % number)
        failed: list[BaseException] = []
        gate = threading.Barrier(4)

        def work() -> None:
            try:
                with Store(root, time.time) as own:
                    own.records.query("SELECT 1")
                    os.utime(own.layout.scratch + ".lock", (later, later))
                    gate.wait()
                    prune(own, now=later)
            except (OSError, StoreError, sqlite3.Error) as error:
                failed.append(error)

        os.utime(store.layout.scratch + ".lock", (later, later))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for place in ("trees", "digests", "indexes", "downloads", "oci/blobs/sha256"):
            assert os.listdir(f"{root}/{place}") == []

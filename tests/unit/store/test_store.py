"""The store: blobs, trees, records and names are there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.stored import drop

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.graph.key import CacheKey
from firkin.errors import StoreError
from firkin.linux.folders import remove_tree
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest, digest_of
from firkin.oci.manifest import Manifest, encode_manifest
from firkin.oci.reference import parse_reference
from firkin.store.gc import prune
from firkin.store.images import StoredImage
from firkin.store.records import LayerBlob
from firkin.store.store import Store


def record(key: str, slot: str = "D|s|1") -> StepRecord:
    return StepRecord(CacheKey(key), key, slot, "RUN x", (("op", "run"), ("command", key)), 5.0, 0.5)


def test_blob_is_named_by_its_digest_and_read_back_verified(store):
    digest = store.blobs.put(b"content")
    assert digest == digest_of(b"content")
    assert store.blobs.read(digest) == b"content"
    assert store.blobs.size(digest) == 7


def test_damaged_blob_is_told(store):
    digest = store.blobs.put(b"content")
    os.chmod(store.blobs.path(digest), 0o644)
    with open(store.blobs.path(digest), "wb") as file:
        file.write(b"contenX")
    with pytest.raises(StoreError, match="damaged") as caught:
        store.blobs.read(digest)
    assert caught.value.code == "blob-damaged"


def test_missing_blob_is_told_with_a_way_out(store):
    with pytest.raises(StoreError, match="missing") as caught:
        store.blobs.open(digest_of(b"nothing"))
    assert caught.value.hints


def test_aborted_blob_leaves_nothing(store):
    writer = store.blobs.new()
    writer.write(b"half")
    writer.abort()
    assert os.listdir(store.layout.scratch) == []
    assert os.listdir(f"{store.layout.blobs}/sha256") == []


def test_two_makers_of_one_tree_both_succeed(store):
    first, second = store.stage_tree(), store.stage_tree()
    for staged, text in ((first, "one"), (second, "two")):
        with open(f"{staged.path}/file", "w") as file:
            file.write(text)
    key = "a" * 64
    assert not store.trees.has(key)
    first.seal(key)
    second.seal(key)
    with open(f"{store.trees.path(key)}/file") as file:
        assert file.read() == "one"
    assert os.listdir(store.layout.scratch) == []


def test_scratch_of_a_killed_process_is_swept_and_of_a_living_one_kept(tmp_path, clock):
    root = str(tmp_path / "store")
    script = (
        "import os, sys, time; from firkin.store.store import Store\n"
        "with Store(sys.argv[1], time.time) as store:\n"
        "    store.stage_tree(); print('ready', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with Store(root, clock) as store:
            own = os.path.basename(store.layout.scratch)
            others = [name for name in os.listdir(f"{root}/tmp") if name.removesuffix(".lock") != own]
            assert len(others) == 2  # the living process's scratch and its lock
    finally:
        process.kill()
        process.communicate()
    with Store(root, clock) as store:
        names = set(os.listdir(f"{root}/tmp"))
        own = os.path.basename(store.layout.scratch)
        assert names == {own, own + ".lock"}


def test_a_tree_of_any_depth_is_removed(tmp_path):
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.getcwd()
    os.chdir(deep)
    for _ in range(1500):  # deeper than any path can tell
        os.mkdir("0123")
        os.chdir("0123")
        os.close(os.open("file", os.O_CREAT))
        os.symlink("..", "up")
    for _ in range(1500):
        os.chmod(".", 0o500)
        os.chdir("..")
    os.chdir(here)
    remove_tree(str(deep))
    assert not deep.exists()


def test_other_store_version_is_refused(tmp_path, clock):
    root = tmp_path / "store"
    with Store(str(root), clock):
        pass
    (root / "version").write_text("999\n")
    with pytest.raises(StoreError, match="version 999"), Store(str(root), clock):
        pass


def test_place_that_is_no_directory_is_told(tmp_path, clock):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught, Store(str(tmp_path / "file"), clock):
        pass
    assert str(tmp_path / "file") in str(caught.value)


def image(store: Store, text: bytes) -> Descriptor:
    config = store.blobs.put(text)
    described = Descriptor(media.OCI_CONFIG, config, len(text))
    manifest = encode_manifest(Manifest(media.OCI_MANIFEST, described, ()))
    store.blobs.put(manifest.raw)
    for digest, size in ((config, len(text)), (manifest.digest, len(manifest.raw))):
        store.records.add_blob(digest, size)
    return manifest.descriptor


def test_a_name_moves_and_the_old_image_loses_it(store):
    name = parse_reference("app:1")
    first, second = image(store, b"{}"), image(store, b"{ }")
    store.images.tag(first, (name,), "2001-01-01T00:00:00Z")
    store.images.tag(second, (name,))
    assert store.images.find(name) == second
    assert store.images.entries() == (
        StoredImage("", first, "2001-01-01T00:00:00Z"), StoredImage("docker.io/library/app:1", second),
    )  # fmt: skip
    store.images.tag(first, (name,))
    assert [(entry.name[-5:], entry.descriptor) for entry in store.images.entries()] == [("", second), ("app:1", first)]


def test_an_image_with_another_name_left_needs_no_entry_without_one(store):
    first, second = image(store, b"{}"), image(store, b"{ }")
    store.images.tag(first, (parse_reference("app:1"), parse_reference("app:2")))
    store.images.tag(second, (parse_reference("app:1"),))
    assert [entry.name[-5:] for entry in store.images.entries()] == ["app:2", "app:1"]
    store.images.tag(second, (parse_reference("app:1"), parse_reference("app:2")))
    assert [entry.name[-5:] for entry in store.images.entries()] == ["", "app:1", "app:2"]


def test_digest_names_stand_beside_tags_and_outlive_them(store):
    first, second = image(store, b"{}"), image(store, b"{ }")
    name = parse_reference("r.io/app:1")
    store.images.tag(first, (name,), pinned=True)
    store.images.tag(second, (name,), pinned=True)
    store.images.tag(second, (name,), pinned=True)
    found = [(entry.name, entry.is_tag, entry.is_digest_name, entry.descriptor) for entry in store.images.entries()]
    assert found == [
        (f"r.io/app@{first.digest}", False, True, first),
        ("r.io/app:1", True, False, second),
        (f"r.io/app@{second.digest}", False, True, second),
    ]
    assert store.images.find(parse_reference(f"r.io/app@{first.digest}")) == first
    store.images.tag(first, (parse_reference(f"other:1@{first.digest}"),))
    assert store.images.entries()[-1].name == f"docker.io/library/other@{first.digest}"
    with pytest.raises(ValueError, match="cannot name"):
        store.images.tag(second, (parse_reference(f"r.io/app@{first.digest}"),))
    drop(store, f"r.io/app@{first.digest}")
    assert f"r.io/app@{first.digest}" not in [entry.name for entry in store.images.entries()]


def test_two_processes_naming_images_lose_none(store):
    first = image(store, b"{}")

    def tag(number: int) -> None:
        store.images.tag(first, (parse_reference(f"app:{number}"),))

    threads = [threading.Thread(target=tag, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.name for entry in store.images.entries()} == {f"docker.io/library/app:{n}" for n in range(16)}


def make_layer(store: Store, key: str) -> None:
    with store.stage_tree() as staged:
        with open(f"{staged.path}/data", "wb") as file:
            file.write(bytes(100_000))
        staged.seal(key)
    StepRecords(store).remember(record(key))
    digest = store.blobs.put(key.encode())
    store.records.add_blob(digest, len(key))
    described = Descriptor(media.layer_media_type("oci", "gzip"), digest, len(key))
    store.records.add_layer_blob(key, "gzip::", LayerBlob(DiffID(Digest(digest)), described))


def test_prune_takes_what_is_old_and_unneeded_only(store, clock):
    named = image(store, b"{}")
    store.images.tag(named, (parse_reference("kept"),))
    make_layer(store, "a" * 64)
    clock.now += 1000
    make_layer(store, "b" * 64)
    result = prune(store, now=clock.now, older_than_s=500)
    assert {item.name for item in result.freed if item.kind == "layer"} == {"a" * 64}
    assert result.size_bytes >= 100_000
    assert StepRecords(store).find(CacheKey("a" * 64)) is None
    assert not store.trees.has("a" * 64)
    assert store.trees.has("b" * 64)
    assert store.blobs.size(named.digest) is not None
    assert store.blobs.size(digest_of(b"a" * 64)) is None
    assert store.blobs.size(digest_of(b"b" * 64)) is not None


def test_dry_prune_says_the_same_and_does_nothing(store, clock):
    make_layer(store, "a" * 64)
    clock.now += 1000
    dry = prune(store, now=clock.now, dry=True)
    assert store.trees.has("a" * 64)
    assert {(x.kind, x.name) for x in prune(store, now=clock.now).freed} == {(x.kind, x.name) for x in dry.freed}


def test_prune_spares_what_a_running_build_may_use(tmp_path, clock, store):
    make_layer(store, "a" * 64)
    with Store(store.layout.root, clock) as other:
        os.utime(other.layout.scratch + ".lock", (clock.now - 10, clock.now - 10))
        clock.now += 1000
        assert not [x for x in prune(store, now=clock.now).freed if x.kind == "layer"]
    assert [x for x in prune(store, now=clock.now).freed if x.kind == "layer"]


@pytest.mark.parametrize("kind", ["layer", "blob"])
def test_prune_spares_what_a_build_takes_up_while_it_looks(store, clock, monkeypatch, kind):
    key = "a" * 64
    if kind == "layer":
        make_layer(store, key)
    blob = store.blobs.put(key.encode())
    store.records.add_blob(blob, len(key))
    clock.now += 1000

    def taken_up_before():
        monkeypatch.undo()
        store.records.touch((key,), (key,), (blob,))
        return store.records.transaction()

    monkeypatch.setattr(store.records, "transaction", taken_up_before)
    assert prune(store, now=clock.now, older_than_s=500).freed == ()
    assert store.blobs.size(blob) is not None
    assert store.trees.has(key) == (kind == "layer")


def test_trees_are_laid_far_apart_where_the_file_system_can(store):
    """ext4's flag for the top of a hierarchy (chattr +T) on what trees are made in."""
    found = subprocess.run(["lsattr", "-d", store.layout.scratch], capture_output=True, text=True)
    if found.returncode or "e" not in found.stdout.split()[0]:
        pytest.skip("needs ext4")
    assert "T" in found.stdout.split()[0]


def test_prune_takes_downloads_by_their_last_use(store):
    base = Path(store.layout.downloads)
    base.mkdir(exist_ok=True)
    for name in ("a.json", "a.1", "b.json", "b.1"):
        (base / name).write_bytes(b"x" * 10_000)
    later = time.time() + 1000
    os.utime(base / "b.json", (later, later))
    freed = prune(store, now=later, older_than_s=500).freed
    assert [(item.kind, item.name) for item in freed] == [("download", "a")]
    assert freed[0].size_bytes >= 20_000
    assert sorted(place.name for place in base.iterdir()) == ["b.1", "b.json"]


def test_prune_takes_blobs_that_nobody_remembers(store):
    named = image(store, b"{}")
    store.images.tag(named, (parse_reference("kept"),))
    lost = store.blobs.put(b"lost")
    later = time.time() + 1000
    assert not [item for item in prune(store, now=later, older_than_s=2000).freed if item.kind == "blob"]
    assert lost in {item.name for item in prune(store, now=later, dry=True).freed}
    assert lost in {item.name for item in prune(store, now=later).freed}
    assert store.blobs.size(lost) is None and store.blobs.size(named.digest) is not None


def test_a_store_without_its_empty_directories_is_usable(tmp_path):
    root = str(tmp_path / "store")
    with Store(root, time.time):
        pass
    for name in ("tmp", "references"):
        remove_tree(f"{root}/{name}")
    with Store(root, time.time) as store:
        assert os.path.isdir(store.layout.scratch) and os.path.isdir(store.layout.references)

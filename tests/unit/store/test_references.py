"""What is referenced is never pruned, whoever references it; what was released goes."""

from __future__ import annotations

import os
import time

import pytest

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.graph.key import CacheKey
from firkin.errors import StoreError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest, digest_of
from firkin.oci.manifest import Index, Manifest, encode_index, encode_manifest
from firkin.oci.reference import parse_reference
from firkin.store import references
from firkin.store.collect import collect, is_needed
from firkin.store.gc import prune
from firkin.store.pruned import WANTED
from firkin.store.records import LayerBlob
from firkin.store.references import StoreReference, held, register, registered, release
from firkin.store.rules import GcRules
from firkin.store.store import Store

TREE, OTHER = "a" * 64, "b" * 64
LONG = 1e6


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "store"), time.time) as opened:
        yield opened


def add_layer(store: Store, name: str, *, known: bool = True) -> Digest:
    """Put a layer into the store, with its record and its blob."""
    with store.stage_tree() as staged:
        with open(f"{staged.path}/file", "wb") as file:
            file.write(b"x" * 10_000)
        staged.seal(name)
    blob = store.blobs.put(name.encode())
    if not known:
        with store.records.transaction() as connection:
            connection.execute("DELETE FROM trees WHERE id = ?", (name,))
    else:
        store.records.add_blob(blob, len(name))
        store.records.add_layer_blob(name, "gzip::", LayerBlob(DiffID(blob), Descriptor("", blob, len(name))))
        StepRecords(store).remember(StepRecord(CacheKey(name), name, "s", "RUN", (), 1.0, 1.0))
    return blob


def image_of(store: Store, *names: str) -> Descriptor:
    """Put an index of one image with a configuration of its own into the store."""
    config = store.blobs.put(",".join(names).encode())
    manifest = encode_manifest(Manifest(media.OCI_MANIFEST, Descriptor(media.OCI_CONFIG, config, 1), ()))
    index = encode_index(Index(media.OCI_INDEX, (manifest.descriptor,)))
    for raw in (manifest.raw, index.raw):
        store.blobs.put(raw)
    store.images.tag(index.descriptor, tuple(map(parse_reference, names)))
    return index.descriptor


def pruned(store: Store) -> set[str]:
    return {item.name for item in prune(store, now=time.time() + LONG).freed}


@pytest.mark.parametrize("known", [True, False], ids=["known", "without a record"])
def test_a_reference_of_an_unknown_kind_keeps_its_layers_and_frees_them_with_its_end(store, known) -> None:
    blobs = {tree: add_layer(store, tree, known=known) for tree in (TREE, OTHER)}
    register(store, StoreReference("pod of a later version", "one", (TREE,), (blobs[TREE],)))
    assert pruned(store) == {OTHER, blobs[OTHER]}
    assert store.trees.has(TREE) and store.blobs.size(blobs[TREE]) == 64
    release(store, "pod of a later version", "other")
    assert pruned(store) == set()
    release(store, "pod of a later version", "one")
    release(store, "pod of a later version", "one")
    assert pruned(store) == {TREE, blobs[TREE]}


def test_a_layer_keeps_its_records_with_it(store) -> None:
    add_layer(store, TREE)
    register(store, StoreReference("container", "one", (TREE,)))
    pruned(store)
    assert StepRecords(store).find(CacheKey(TREE)) is not None


def test_what_is_referenced_is_in_no_count_of_space(store) -> None:
    add_layer(store, TREE)
    register(store, StoreReference("container", "one", (TREE,)))
    later = time.time() + LONG
    for rules in (GcRules(max_used_bytes=1), GcRules(keep_age_s=1.0)):
        assert not is_needed(store, rules, later)
        events: list[object] = []
        collect(store, rules, later, events.append)
        assert events == [] and store.trees.has(TREE)
    spared = {(item.kind, item.why): item.count for item in prune(store, now=later).spared}
    assert spared == {("layer", "of use to a container"): 1}


def test_a_reference_outlives_its_process_and_the_database(tmp_path) -> None:
    with Store(str(tmp_path / "s"), time.time) as store:
        add_layer(store, TREE)
        register(store, StoreReference("container", "one", (TREE,)))
        database = os.path.realpath(store.layout.database)
    with open(database, "wb") as file:
        file.write(b"this is no database" * 1000)
    with Store(str(tmp_path / "s"), time.time) as store:
        assert list(registered(store)) == [StoreReference("container", "one", (TREE,))]
        assert TREE not in pruned(store)
        release(store, "container", "one")
        assert TREE in pruned(store)


def test_images_outlive_the_database(tmp_path) -> None:
    with Store(str(tmp_path / "s"), time.time) as store:
        image = image_of(store, "app:1")
        store.records.add_tree(TREE)
        database = os.path.realpath(store.layout.database)
    with open(database, "wb") as file:
        file.write(b"this is no database" * 1000)
    with Store(str(tmp_path / "s"), time.time) as store:
        pruned(store)
        assert store.images.find(parse_reference("app:1")) == image
        assert set(held(store).blobs) == {f"sha256:{name}" for name in os.listdir(f"{store.layout.blobs}/sha256")}


def test_a_reference_to_what_is_gone_is_told_and_not_kept(store) -> None:
    blob = add_layer(store, TREE)
    for trees, blobs in (((TREE, OTHER), ()), ((TREE,), (blob, digest_of(b"gone")))):
        with pytest.raises(StoreError, match="not in the store any more") as caught:
            register(store, StoreReference("container", "one", trees, blobs))
        assert caught.value.code == "reference-gone"
    assert list(registered(store)) == []


@pytest.mark.parametrize("moment", ["before the look", "after the look"])
def test_a_reference_that_is_made_while_a_prune_looks_keeps_its_layer(store, monkeypatch, moment) -> None:
    """Before the look the prune finds it, after the look it finds that the layer was of use just now."""
    blob = add_layer(store, TREE)
    ask = references.references
    began = time.time() + 100  # after the uses above, before the one below
    store.records.clock = lambda: began + 1

    def asked(opened: Store):
        monkeypatch.undo()
        reference = StoreReference("container", "one", (TREE,), (blob,))
        if moment == "before the look":
            register(opened, reference)
        found = list(ask(opened))
        if moment == "after the look":
            register(opened, reference)
        return found

    monkeypatch.setattr(references, "references", asked)
    with Store(store.layout.root, time.time) as other:
        os.utime(other.layout.scratch + ".lock", (began + LONG, began + LONG))
        assert prune(store, now=began + 61).freed == ()
    assert store.trees.has(TREE) and store.blobs.size(blob) == 64


def test_the_same_name_is_one_reference_for_each_kind(store) -> None:
    for tree in (TREE, OTHER):
        add_layer(store, tree)
    register(store, StoreReference("container", "one", (TREE,)))
    register(store, StoreReference("container", "one", (OTHER,)))
    register(store, StoreReference("volume/of some/../kind", "one", (TREE,)))
    assert {(item.kind, item.trees) for item in registered(store)} == {
        ("container", (OTHER,)),
        ("volume/of some/../kind", (TREE,)),
    }
    assert len(os.listdir(store.layout.references)) == 2


def test_a_process_that_lives_needs_what_was_of_use_since_it_began(store) -> None:
    add_layer(store, TREE)
    began = time.time() - 3600
    with Store(store.layout.root, time.time) as other:
        os.utime(other.layout.scratch + ".lock", (began, began))
        assert references.held_since(store, time.time()) == pytest.approx(began)
        assert pruned(store) == set()
    assert TREE in pruned(store)


def test_a_reference_may_need_all_since_a_time(store) -> None:
    register(store, StoreReference("container", "one", since_s=1000.0))
    assert references.held_since(store, 2000.0) == 1000.0 and references.held_since(store, 500.0) == 500.0


def test_what_cannot_be_read_keeps_everything(store) -> None:
    add_layer(store, TREE)
    path = f"{store.layout.references}/{'0' * 64}"
    with open(path, "w") as file:
        file.write('{"kind": "container"')
    with pytest.raises(StoreError, match="cannot be read") as caught:
        prune(store, now=time.time() + LONG)
    assert caught.value.code == "store-reference" and path in caught.value.hints[0]
    assert store.trees.has(TREE)


@pytest.mark.parametrize(
    "document",
    [
        b'{"kind": "x", "name": "y", "z": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"kind": "image", "name": "sha256:00"}',
        b'{"kind": "process", "name": "1"}',
        b'{"kind": "a\\u001b[31m", "name": "b"}',
        b'{"kind": "a\\nb", "name": "b"}',
        b"\xff",
    ],
)
def test_a_document_that_nobody_registered_so_keeps_everything(store, document) -> None:
    add_layer(store, TREE)
    with open(f"{store.layout.references}/{'0' * 64}", "wb") as file:
        file.write(document)
    with pytest.raises(StoreError, match="cannot be read") as caught:
        prune(store, now=time.time() + LONG)
    assert store.trees.has(TREE) and str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["fifo", "link", "loop", "directory"])
def test_what_is_no_document_keeps_everything_and_is_not_waited_for(store, kind) -> None:
    add_layer(store, TREE)
    path = f"{store.layout.references}/{'0' * 64}"
    {
        "fifo": lambda: os.mkfifo(path), "link": lambda: os.symlink("nowhere", path),
        "loop": lambda: os.symlink(path, path), "directory": lambda: os.mkdir(path),
    }[kind]()  # fmt: skip
    with pytest.raises(StoreError, match="cannot be read"):
        prune(store, now=time.time() + LONG)
    assert store.trees.has(TREE)


@pytest.mark.parametrize("kind", ["image", "process", "", "k" * 65, "a\n"])
def test_a_kind_that_cannot_be_registered(store, kind) -> None:
    with pytest.raises(ValueError, match="not the kind"):
        register(store, StoreReference(kind, "one"))
    assert os.listdir(store.layout.references) == []


def test_a_copy_of_a_store_may_lack_its_empty_directories(store) -> None:
    add_layer(store, TREE)
    for name in ("references", "mounts", "downloads", "digests"):
        os.rmdir(f"{store.layout.root}/{name}")
    assert TREE in pruned(store)
    os.rmdir(store.layout.references)
    register(store, StoreReference("container", "one"))
    assert len(os.listdir(store.layout.references)) == 1


def test_images_reference_all_that_they_consist_of(store) -> None:
    index = image_of(store, "app:1", "app:2")
    found = [item for item in references.references(store) if item.kind == "image"]
    assert [item.name for item in found] == ["docker.io/library/app:1", "docker.io/library/app:2"]
    assert found[0].blobs == found[1].blobs and found[0].blobs[0] == index.digest and len(found[0].blobs) == 3
    result = prune(store, now=time.time() + LONG)
    assert result.freed == () and [(item.why, item.count) for item in result.spared] == [(WANTED, 3)]


def test_a_dry_run_counts_images_without_a_name_as_gone(store) -> None:
    index = image_of(store)
    assert held(store).blobs and not held(store, {index.digest}).blobs
    dry = {item.name for item in prune(store, now=time.time() + LONG, dry=True).freed}
    assert len(dry) == 3 and dry == pruned(store)

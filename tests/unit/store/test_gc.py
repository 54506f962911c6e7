"""What a prune spares, the rules of [gc], and how space is counted."""

from __future__ import annotations

import os

import pytest

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.graph.key import CacheKey
from firkin.errors import StoreError
from firkin.events import Finished, Warned
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID
from firkin.oci.image import Layer, assemble
from firkin.oci.reference import parse_reference
from firkin.store import collect as collecting
from firkin.store import gc as collector
from firkin.store.collect import collect, is_needed
from firkin.store.gc import prune
from firkin.store.layout import check_owner
from firkin.store.pruned import KEPT, RECENT, WANTED
from firkin.store.records import LayerBlob
from firkin.store.rules import GcRules
from firkin.store.store import Store
from firkin.store.usage import measured_use, recorded_use

DAY = 86400.0
KILO = 1 << 10


def add_layer(store: Store, name: str, kilobytes: int = 64) -> None:
    """Put a step's layer of one file into the store, as a build now would."""
    with store.stage_tree() as staged:
        with open(f"{staged.path}/file", "wb") as file:
            file.write(b"x" * kilobytes * KILO)
        staged.seal(name)
    StepRecords(store).remember(StepRecord(CacheKey(name), name, "D|s|1", f"RUN {name}", (), 1.0, 0.1))


def add_image(store: Store, name: str, content: bytes) -> None:
    """Put an image of one layer, which is a blob, into the store."""
    blob = store.blobs.put(content)
    store.records.add_blob(blob, len(content))
    config = parse_config(
        b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["%s"]}}' % blob.encode()
    )
    layer = Layer(DiffID(blob), Descriptor(media.layer_media_type("oci", "gzip"), blob, len(content)))
    image = assemble(config, (layer,), "oci")
    for raw in (config.raw, image.manifest.raw):
        store.records.add_blob(store.blobs.put(raw), len(raw))
    store.images.tag(image.manifest.descriptor, (parse_reference(name),))


def trees(store: Store) -> set[str]:
    return set(os.listdir(store.layout.trees))


def collected(store: Store, rules: GcRules, began: float) -> list[object]:
    events: list[object] = []
    collect(store, rules, began, events.append)
    return events


def test_a_prune_tells_what_it_spares_and_why(store, clock):
    add_layer(store, "old")
    add_layer(store, "middle")
    add_image(store, "app:1", b"layer" * 1000)
    clock.now += 10 * DAY
    add_layer(store, "new")
    pruned = prune(store, now=clock.now + 3600, older_than_s=7 * DAY, keep_bytes=150 * KILO)
    assert [item.name for item in pruned.freed if item.kind == "layer"] == ["middle"]
    spared = {(item.kind, item.why): item for item in pruned.spared}
    assert spared["layer", RECENT].count == spared["layer", KEPT].count == 1
    assert spared["layer", RECENT].size_bytes >= 64 * KILO
    assert spared["blob", WANTED].count == 3 and spared["blob", WANTED].size_bytes > 5000
    assert set(spared) == {("layer", RECENT), ("layer", KEPT), ("blob", WANTED)}


def test_what_was_just_used_goes_when_no_other_process_may_rely_on_it(store, clock):
    add_layer(store, "layer")
    assert prune(store, now=clock.now).freed == (), "a process that begins now need not note it again"
    with Store(store.layout.root, clock):
        assert prune(store, now=clock.now, recent=True).freed == ()
    dry = prune(store, now=clock.now, recent=True, dry=True)
    assert [item.name for item in dry.freed] == ["layer"] and trees(store) == {"layer"}
    assert [item.name for item in prune(store, now=clock.now, recent=True).freed] == ["layer"] and trees(store) == set()


def test_a_process_that_begins_beside_a_prune_keeps_what_it_uses(store, clock, monkeypatch):
    """It begins after the prune has looked for processes, and uses a layer before that is removed."""
    add_layer(store, "layer")
    add_layer(store, "other")

    def chosen(*arguments):
        with Store(store.layout.root, clock) as beside:
            assert StepRecords(beside).find(CacheKey("layer")) is not None
        return choose(*arguments)

    choose = collector.choose
    monkeypatch.setattr(collector, "choose", chosen)
    assert [item.name for item in prune(store, now=clock.now, recent=True).freed] == ["other"]
    assert trees(store) == {"layer"}


def test_only_what_was_named_goes(store, clock, tmp_path):
    for name in ("one", "two"):
        add_layer(store, name)
    lone, left = (store.blobs.put(content) for content in (b"a" * KILO, b"b" * KILO))
    for digest in (lone, left):
        store.records.add_blob(digest, KILO)
    for name in ("mount", "kept"):
        os.mkdir(f"{store.layout.mounts}/{name}")
        open(f"{store.layout.mounts}/{name}.lock", "w").close()
        os.utime(f"{store.layout.mounts}/{name}.lock", (clock.now, clock.now))
    clock.now += DAY
    freed = prune(store, now=clock.now, recent=True, only={"one", lone, "mount"}).freed
    assert [item.name for item in freed] == ["one", lone, "mount"]
    assert trees(store) == {"two"} and store.blobs.size(left) and os.path.isdir(f"{store.layout.mounts}/kept")


def test_space_to_keep_counts_blobs_and_takes_the_oldest_first(store, clock):
    for number in range(4):
        content = bytes([number]) * 100 * KILO
        store.records.add_blob(store.blobs.put(content), len(content))
        clock.now += DAY
    add_layer(store, "layer", 100)
    clock.now += DAY
    pruned = prune(store, now=clock.now, keep_bytes=320 * KILO)
    assert [item.kind for item in pruned.freed] == ["blob", "blob"]
    left = set(os.listdir(f"{store.layout.blobs}/sha256"))
    assert len(left) == 2 and {item.name.removeprefix("sha256:") for item in pruned.freed}.isdisjoint(left)
    assert trees(store) == {"layer"}


def test_a_layer_counts_with_its_blob_and_goes_with_it(store, clock):
    add_layer(store, "first", 100)
    blob = store.blobs.put(b"compressed" * 10_000)
    store.records.add_blob(blob, 100_000)
    store.records.add_layer_blob("first", "gzip", LayerBlob(DiffID(blob), Descriptor("", blob, 100_000)))
    clock.now += DAY
    add_layer(store, "second", 100)
    clock.now += DAY
    assert prune(store, now=clock.now, keep_bytes=320 * KILO, dry=True).freed == ()
    freed = prune(store, now=clock.now, keep_bytes=250 * KILO).freed
    assert {(item.kind, item.name) for item in freed} == {("layer", "first"), ("blob", str(blob))}


def test_a_rule_of_space_removes_the_oldest_until_it_fits(store, clock):
    for number in range(5):
        add_layer(store, f"layer{number}", 100)
        clock.now += DAY
    rules = GcRules(max_used_bytes=350 * KILO)
    events = collected(store, rules, clock.now)
    assert trees(store) == {"layer2", "layer3", "layer4"}
    assert [event.status for event in events if isinstance(event, Finished)] == ["done"]
    assert collected(store, rules, clock.now) == []


def test_what_the_build_used_stays_whatever_the_rules(store, clock):
    began = clock.now
    add_layer(store, "mine", 500)
    clock.now += 600
    assert collected(store, GcRules(max_used_bytes=1), began) == []
    assert collected(store, GcRules(keep_age_s=1.0), began) == []
    assert trees(store) == {"mine"}


def test_images_that_lost_their_name_are_removed_by_the_rules(store, clock):
    for number in range(3):
        add_image(store, "app:1", bytes([number]) * 100 * KILO)
        for digest in os.listdir(f"{store.layout.blobs}/sha256"):
            place = f"{store.layout.blobs}/sha256/{digest}"
            if os.stat(place).st_mtime > clock.now + 1:
                os.utime(place, (clock.now, clock.now))
        clock.now += DAY
    assert [bool(entry.name) for entry in store.images.entries()] == [False, False, True]
    assert is_needed(store, GcRules(max_used_bytes=250 * KILO), clock.now) is False
    collected(store, GcRules(max_used_bytes=150 * KILO), clock.now)
    assert [entry.name[-5:] for entry in store.images.entries()] == ["app:1"]
    assert sum(size > KILO for _, size in store.records.query("SELECT digest, size FROM blobs")) == 2, "until it fits"


def test_a_rule_of_age_removes_what_is_older(store, clock):
    add_layer(store, "old")
    clock.now += 10 * DAY
    add_layer(store, "new")
    clock.now += DAY
    assert is_needed(store, GcRules(keep_age_s=7 * DAY), clock.now)
    collected(store, GcRules(keep_age_s=7 * DAY), clock.now)
    assert trees(store) == {"new"}


def test_with_both_rules_old_things_go_and_only_until_it_fits(store, clock):
    for name in ("oldest", "old"):
        add_layer(store, name, 100)
        clock.now += 10 * DAY
    add_layer(store, "new", 100)
    clock.now += DAY
    collected(store, GcRules(350 * KILO, 5 * DAY), clock.now)
    assert trees(store) == {"oldest", "old", "new"}
    collected(store, GcRules(150 * KILO, 15 * DAY), clock.now)
    assert trees(store) == {"old", "new"}  # over the space still, but not old enough


def test_images_with_names_are_in_no_count_and_never_go(store, clock):
    add_image(store, "app:1", os.urandom(300 * KILO))
    clock.now += 100 * DAY
    add_layer(store, "new")
    clock.now += DAY
    for rules in (GcRules(max_used_bytes=200 * KILO), GcRules(keep_age_s=7 * DAY)):
        assert collected(store, rules, clock.now) == []
    assert store.images.find(parse_reference("app:1")) is not None


def test_cache_mounts_go_by_age_and_not_by_space(store, clock, tmp_path):
    def mount(name: str) -> None:
        os.mkdir(f"{store.layout.mounts}/{name}")
        with open(f"{store.layout.mounts}/{name}.lock", "w"):
            pass
        os.utime(f"{store.layout.mounts}/{name}.lock", (clock.now, clock.now))

    mount("npm")
    add_layer(store, "old", 100)
    clock.now += 10 * DAY
    collected(store, GcRules(max_used_bytes=KILO), clock.now)
    assert trees(store) == set() and os.path.isdir(f"{store.layout.mounts}/npm")
    clock.now -= 10 * DAY
    add_layer(store, "old")
    clock.now += 10 * DAY
    collected(store, GcRules(keep_age_s=DAY), clock.now)
    assert not os.path.isdir(f"{store.layout.mounts}/npm")


def test_nothing_is_walked_that_was_measured_before(store, clock, monkeypatch):
    add_layer(store, "one", 100)
    measured_use(store)
    add_layer(store, "two", 100)
    clock.now += DAY
    walked = []
    monkeypatch.setattr("firkin.store.usage.iter_statuses", lambda path: walked.append(path) or iter(()))
    is_needed(store, GcRules(max_used_bytes=1 << 40), clock.now)
    assert [os.path.basename(path) for path in walked] == ["two"]


def test_a_failure_is_a_warning(store, clock, monkeypatch):
    add_layer(store, "old")
    clock.now += DAY

    def fail(*arguments: object, **options: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(collecting, "prune", fail)
    events = collected(store, GcRules(keep_age_s=1.0), clock.now)
    assert [event.status for event in events if isinstance(event, Finished)] == ["failed"]
    assert [event.code for event in events if isinstance(event, Warned)] == ["gc"]


def test_used_space_is_what_is_on_disk(store):
    add_layer(store, "layer", 100)
    content = b"x" * 5000
    store.records.add_blob(store.blobs.put(content), len(content))
    layers, blobs = recorded_use(store)
    assert (layers.count, layers.size_bytes, layers.unmeasured) == (1, 0, 1)
    assert (blobs.count, blobs.size_bytes) == (1, 5000)
    uses = {use.kind: use for use in measured_use(store)}
    assert 100 * KILO <= uses["layer"].size_bytes <= 120 * KILO and not uses["layer"].unmeasured
    assert recorded_use(store)[0] == uses["layer"]


def test_the_store_of_another_user_is_refused_with_the_reason(tmp_path, clock, monkeypatch):
    root = str(tmp_path / "store")
    check_owner(root)  # there is none yet
    with Store(root, clock):
        check_owner(root)
    own = os.geteuid()
    monkeypatch.setattr("firkin.store.layout.os.geteuid", lambda: own + 1)
    for use in (lambda: check_owner(root), lambda: Store(root, clock).__enter__()):
        with pytest.raises(StoreError, match=f"belongs to .*uid {own}.*you are .*uid {own + 1}") as caught:
            use()
        assert caught.value.code == "store-owner" and "root's store is root" in caught.value.hints[0]


def test_a_store_that_cannot_be_looked_into_is_refused_by_its_owner(tmp_path, clock):
    if os.geteuid() == 0:
        pytest.skip("root may look everywhere")
    with pytest.raises(StoreError, match="belongs to `root`") as caught:
        check_owner("/root/.local/share/firkin")
    assert caught.value.code == "store-owner"

"""Layers as trees: made once, nowhere but in the store, and only what their names say."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec
import pytest
from support.pulled import AT, ME, ORIGIN, Builds, Registry, blob_of, directory, file, layer, symlink

from firkin.content.cached import CachedLayer
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.errors import Cancelled, RegistryError, StepFailed
from firkin.events import Warned
from firkin.hints import Hint
from firkin.layer.change import Entry, Put
from firkin.layer.entry import encode_member, encode_whiteout
from firkin.layer.limits import UnpackLimits
from firkin.oci.digest import digest_of
from firkin.store.store import Store

BUILT = "b" * 64


def shown(root: str) -> dict[str, str]:
    """Return what is in a tree, directories with their modes."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            full = f"{folder}/{name}"
            path = os.path.relpath(full, root)
            if os.path.islink(full):
                found[path] = "-> " + os.readlink(full)
            elif os.path.isdir(full):
                found[path] = f"{os.lstat(full).st_mode & 0o7777:o}"
            else:
                found[path] = "file"
    return found


def unowned(entry: Entry | None) -> Entry | None:
    """Return an entry without its owner: what an ordinary user makes is the user's, where nobody said whose."""
    return entry if entry is None else msgspec.structs.replace(entry, uid=0, gid=0)


def test_a_file_below_a_lower_layers_link_hides_the_link(
    registry: Registry, work: Builds
) -> None:
    lower = layer(directory("usr"), directory("usr/lib2", 0o750), symlink("lib2", "usr/lib2"))
    image = registry.image(lower, layer(file("lib2/sub/y")))
    begun = work()
    view = begun.trees.names_view(image, "")
    below, top = begun.trees.ensure(image, "")
    # As when the layer is unpacked by itself; the directory looks like the one that the link led to.
    assert shown(top) == {"lib2": "750", "lib2/sub": "755", "lib2/sub/y": "file"}
    assert shown(below) == {"usr": "755", "usr/lib2": "750", "lib2": "-> usr/lib2"}
    merged = begun.trees.view(image, "")
    for path in ("lib2", "lib2/sub", "lib2/sub/y", "usr/lib2", "usr/lib2/sub"):
        assert unowned(view.lstat(path)) == unowned(merged.lstat(path))
    assert view.iterdir("lib2") == merged.iterdir("lib2") == ["sub"]


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ((directory("b"), directory("b/c"), symlink("a", "b/c")), ("a/x", directory("b"), "link b/c")),
        ((directory("b"), directory("b/c"), symlink("a", "b/c")), ("a/x", "link b")),
        ((directory("b"), symlink("a", "b")), ("a/x", "link b")),
        ((directory("b"), directory("b/c"), symlink("a", "b/c")), ("a/x", file("b"))),
        ((symlink("a", "nothing/below"),), ("a/x", "link nothing")),
        ((symlink("a", "a"),), ("a/x",)),
        ((file("a"),), ("a/x",)),
        ((directory("a"),), (encode_whiteout("a"), "a/x")),
    ],
    ids=["a link deep down", "a link on top", "one step", "a file", "to nothing", "loop", "over a file", "removed"],
)
def test_no_layer_reaches_out_of_the_store_by_links_of_another(
    tmp_path: Path,
    registry: Registry,
    work: Builds,
    lower: tuple[bytes, ...],
    upper: tuple[bytes | str, ...],
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    before = outside.stat().st_ctime_ns
    members = []
    for item in upper:
        if isinstance(item, bytes):
            members.append(item)
        elif item.startswith("link "):
            members.append(symlink(item[5:], str(outside)))
        else:
            members.append(file(item))
    image = registry.image(layer(*lower), layer(*members))
    begun = work()
    indexed = begun.trees.names_view(image, "")
    _, top = begun.trees.ensure(image, "")
    assert os.listdir(outside) == []
    assert outside.stat().st_ctime_ns == before
    assert os.path.isfile(f"{top}/a/x")
    view = begun.trees.view(image, "")
    assert view.lstat("a/x") == indexed.lstat("a/x")
    assert unowned(view.lstat("a")) == unowned(indexed.lstat("a"))


def test_members_beneath_a_link_of_their_own_layer(registry: Registry, work: Builds) -> None:
    image = registry.image(
        layer(
            directory("real"), symlink("to", "/real"), file("to/x"),
            symlink("real/up", ".."), file("to/up/top"),
            encode_member("hard", Entry("file", 0o644, *ME, 0, AT), link="to/x"),
        )
    )  # fmt: skip
    begun = work()
    view = begun.trees.names_view(image, "")
    (tree,) = begun.trees.ensure(image, "")
    assert sorted(shown(tree)) == ["hard", "real", "real/up", "real/x", "to", "top"]
    for path in shown(tree):
        entry = view.lstat(path)
        assert entry is not None
        assert (entry.inode is not None) == (path in ("hard", "real/x"))
    assert view.iterdir("real") == ["up", "x"]
    assert view.iterdir("to") == []


@pytest.mark.parametrize("form", ["index", "tree"])
def test_an_image_that_lies_about_a_layer_leaves_nothing(
    store: Store, registry: Registry, work: Builds, form: str
) -> None:
    good = layer(directory("app"), file("app/real"))
    evil = registry.image(layer(symlink("app", "/elsewhere")), diff_ids=(digest_of(good),))
    begun = work()
    with pytest.raises(RegistryError, match="but its image says"):
        begun.trees.names_view(evil, "") if form == "index" else begun.trees.ensure(evil, "")
    assert os.listdir(store.layout.indexes) == os.listdir(store.layout.trees) == []
    assert os.listdir(store.layout.scratch) == []
    honest = work().trees.names_view(registry.image(good), "")
    entry = honest.lstat("app")
    assert entry is not None
    assert entry.kind == "dir"


@pytest.mark.parametrize("form", ["index", "tree"])
def test_a_layer_that_unpacks_to_too_much(
    store: Store, registry: Registry, work: Builds, form: str
) -> None:
    image = registry.image(layer(file("zeros", bytes(10 << 20))))
    begun = work(limits=UnpackLimits(1 << 20))
    with pytest.raises(StepFailed, match="more than the 1048576 bytes") as caught:
        begun.trees.names_view(image, "") if form == "index" else begun.trees.ensure(image, "")
    assert caught.value.hints == (Hint.of("unpack-size"),)
    assert os.listdir(store.layout.indexes) == os.listdir(store.layout.trees) == os.listdir(store.layout.scratch) == []
    assert work().trees.view(image, "").iterdir("") == ["zeros"]


def test_two_askers_have_a_layer_fetched_once(registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    begun = work()
    asked, found = threading.Event(), []

    def wait() -> None:
        assert asked.wait(10)

    registry.before = wait
    askers = [threading.Thread(target=lambda: found.append(begun.trees.ensure(image, ""))) for _ in range(2)]
    for asker in askers:
        asker.start()
    asked.set()
    for asker in askers:
        asker.join()
    assert found[0] == found[1]
    assert registry.asked == [image.layers[0].pulled.descriptor.digest]  # type: ignore[union-attr]


def test_a_tree_that_is_there_is_left_alone(registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    (tree,) = work().trees.ensure(image, "")
    Path(tree, "mine").write_text("")
    assert work().trees.ensure(image, "") == (tree,)
    assert sorted(os.listdir(tree)) == ["f", "mine"]
    assert len(registry.asked) == 1


def test_a_blob_that_is_there_is_not_fetched(store: Store, registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    (blob,) = registry.blobs.values()
    store.blobs.put(blob)
    work().trees.ensure(image, "")
    assert registry.asked == []


def test_unpacking_keeps_the_blob(store: Store, registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    begun = work()
    assert not begun.trees.has_base(image)
    begun.trees.ensure(image, "")
    assert begun.trees.has_base(image)
    assert [store.blobs.read(digest) for digest in registry.asked] == list(registry.blobs.values())  # type: ignore[arg-type]


def test_a_damaged_blob_leaves_nothing(store: Store, registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    (digest,) = registry.blobs
    registry.blobs[digest] = registry.blobs[digest][:-4] + b"oops"
    with pytest.raises(RegistryError, match="cannot be unpacked") as caught:
        work().trees.ensure(image, "")
    assert caught.value.code == "registry-layer"
    assert os.listdir(store.layout.trees) == os.listdir(store.layout.scratch) == []
    assert not any(files for _, _, files in os.walk(store.layout.blobs))


def test_cancelled_in_the_middle_leaves_nothing(store: Store, registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    registry.before = lambda: work.cancel.set(15)
    with pytest.raises(Cancelled):
        work().trees.ensure(image, "")
    assert os.listdir(store.layout.trees) == os.listdir(store.layout.scratch) == []


def test_cancelled_before_nothing_is_fetched(registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    work.cancel.set(15)
    with pytest.raises(Cancelled):
        work().trees.ensure(image, "")
    assert registry.asked == []


@pytest.mark.parametrize("wanted", ["tree", "names"])
def test_a_lost_cached_layer_is_made_anew_once(registry: Registry, work: Builds, wanted: str) -> None:
    begun = work()
    made = []

    def make() -> None:
        made.append(BUILT)
        begun.trees.write(BUILT, [Put("made", Entry("file", 0o644, *ME, 3), b"new")])

    cached, _ = blob_of(layer(file("gone")))
    begun.cached.offer(BUILT, CachedLayer(cached, "gzip::", ORIGIN), make)
    registry.before = _unreachable
    snapshot = Snapshot((LayerRef(BUILT),), "x")
    for _ in range(2):
        view = begun.trees.view(snapshot, "") if wanted == "tree" else begun.trees.names_view(snapshot, "")
        assert view.iterdir("") == ["made"]
    assert made == [BUILT]
    assert [event.code for event in work.events if isinstance(event, Warned)] == ["cache-refused"]
    assert begun.cached.get(BUILT) is None


def test_nothing_is_made_anew_for_a_build_that_was_stopped(registry: Registry, work: Builds) -> None:
    begun = work()
    cached, _ = blob_of(layer(file("gone")))
    begun.cached.offer(BUILT, CachedLayer(cached, "gzip::", ORIGIN), lambda: pytest.fail("it was made"))

    def stopped() -> None:
        work.cancel.set(15)
        _unreachable()

    registry.before = stopped
    with pytest.raises(RegistryError, match="no registry"):
        begun.trees.ensure(Snapshot((LayerRef(BUILT),), "x"), "")


def _unreachable() -> None:
    raise RegistryError("no registry")


def test_changes_that_no_layer_can_hold_leave_nothing(store: Store, work: Builds) -> None:
    changes = [Put("f", Entry("file", 0o644, *ME, 3), b"too long")]
    with pytest.raises(StepFailed, match="should have 3") as caught:
        work().trees.write(BUILT, changes)
    assert caught.value.code == "layer-content"
    assert os.listdir(store.layout.trees) == os.listdir(store.layout.scratch) == []


def test_a_new_tree_looks_like_the_root_below(store: Store, work: Builds) -> None:
    trees = work().trees
    trees.write("a" * 64, [Put("", Entry("dir", 0o750, *ME, 0, 5 * 10**9))])
    below = store.trees.path("a" * 64)
    trees.write(BUILT, [], below=below)
    status = os.stat(store.trees.path(BUILT))
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o750, 5 * 10**9)


def test_owners_that_files_cannot_have_stand_in_the_index(work: Builds, store: Store) -> None:
    trees = work(owner_free=True).trees
    trees.write(BUILT, [Put("f", Entry("file", 0o644, 1234, 5678, 1), b"x")])
    entry = trees.stack((store.trees.path(BUILT),)).lstat("f")
    assert entry is not None
    assert (entry.uid, entry.gid) == (1234, 5678)

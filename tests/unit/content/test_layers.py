"""Layers of images as trees and indexes: nowhere but in the store, and only what their names say."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from firkin.content.format import LayerFormat
from firkin.content.layers import Layers, open_layers
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.errors import RegistryError, StepFailed
from firkin.hints import Hint
from firkin.layer.change import Entry
from firkin.layer.compress import iter_decompressed
from firkin.layer.entry import TRAILER, encode_member, encode_whiteout, padding
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, chain_ids, digest_of
from firkin.oci.image import Layer
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools

ME = (os.getuid(), os.getgid())
AT = 5 * 10**9


def directory(name: str, mode: int = 0o755) -> bytes:
    return encode_member(name, Entry("dir", mode, *ME, 0, AT))


def file(name: str, content: bytes = b"x") -> bytes:
    return encode_member(name, Entry("file", 0o644, *ME, len(content), AT)) + content + bytes(padding(len(content)))


def symlink(name: str, target: str) -> bytes:
    return encode_member(name, Entry("symlink", 0o777, *ME, 0, AT, target))


class Registry:
    """Blobs by digest, and the snapshots of images made of tars."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        yield self.blobs[descriptor.digest]

    def image(self, *tars: bytes, diff_ids: tuple[str, ...] = ()) -> Snapshot:
        """Return an image's snapshot; `diff_ids` are what its configuration claims, the truth by default."""
        layers = []
        for number, tar in enumerate(tars):
            blob = gzip.compress(tar, 1, mtime=0)
            digest = digest_of(blob)
            self.blobs[digest] = blob
            claimed = DiffID(diff_ids[number] if diff_ids else digest_of(tar))
            layers.append(Layer(claimed, Descriptor(media.layer_media_type("oci", "gzip"), digest, len(blob))))
        chain = chain_ids(layer.diff_id for layer in layers)
        return Snapshot(
            tuple(
                LayerRef(chain_id.partition(":")[2], layer, "docker-image://r.test/i@sha256:0")
                for chain_id, layer in zip(chain, layers)
            ),
            "base",
        )


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "store"), lambda: 1e6) as opened:
        yield opened


@pytest.fixture
def work(store: Store, registry: Registry) -> Iterator[Callable[[], Layers]]:
    """Return a function that begins another build on the same store."""
    opened: list[Pools] = []

    def begin(limits: UnpackLimits = UNPACK_LIMITS, *, owner_free: bool = False) -> Layers:
        opened.append(Pools(2, 2, 2))
        return open_layers(
            store, opened[-1], registry, lambda event: None, Cancel(), lambda: 1e6, limits=limits, owner_free=owner_free
        )

    yield begin
    for pools in opened:
        pools.close(RuntimeError("over"))


def layer(*members: bytes) -> bytes:
    return b"".join(members) + TRAILER


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
    registry: Registry, work: Callable[[], Layers]
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
    work: Callable[[], Layers],
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


def test_members_beneath_a_link_of_their_own_layer(registry: Registry, work: Callable[[], Layers]) -> None:
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
    store: Store, registry: Registry, work: Callable[[], Layers], form: str
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


@pytest.mark.parametrize("damage", ["content", "shorter", "longer"])
def test_a_blob_that_is_not_what_was_asked_for_makes_no_index(
    store: Store, registry: Registry, work: Callable[[], Layers], damage: str
) -> None:
    image = registry.image(layer(file("f")))
    (digest,) = registry.blobs
    blob = registry.blobs[digest]
    wrong = {"content": gzip.compress(layer(file("f")), 9, mtime=1), "shorter": blob[:-1], "longer": blob + b"\0"}
    registry.blobs[digest] = wrong[damage]
    with pytest.raises(RegistryError, match=r"damaged|cut short|longer"):
        work().trees.names_view(image, "")
    assert os.listdir(store.layout.indexes) == []


def test_another_compression_keeps_the_tar(
    store: Store, registry: Registry, work: Callable[[], Layers]
) -> None:
    """What a layer's tar does not say, it does not say in another compression; and no tree is made for it."""
    image = registry.image(layer(directory("d", 0o700)), layer(file("d/f")))
    form = LayerFormat("zstd", force=True)
    made = [work().blobs.start(ref, form).result() for ref in image.layers]
    assert [found.diff_id for found in made] == [ref.pulled.diff_id for ref in image.layers if ref.pulled]
    for found in made:
        assert media.layer_compression(found.descriptor.media_type) == "zstd"
        with store.blobs.open(found.descriptor.digest) as blob:
            tar = b"".join(iter_decompressed(iter((blob.read(),))))
        assert digest_of(tar) == found.diff_id
    assert os.listdir(store.layout.trees) == []


def test_another_compression_of_an_image_that_lies(
    store: Store, registry: Registry, work: Callable[[], Layers]
) -> None:
    image = registry.image(layer(file("f")), diff_ids=(digest_of(b"something else"),))
    with pytest.raises(RegistryError, match="but its image says"):
        work().blobs.start(image.layers[0], LayerFormat("zstd", force=True)).result()
    assert not any(files for _, _, files in os.walk(store.layout.blobs))


@pytest.mark.parametrize("form", ["index", "tree"])
def test_a_layer_that_unpacks_to_too_much(
    store: Store, registry: Registry, work: Callable[..., Layers], form: str
) -> None:
    image = registry.image(layer(file("zeros", bytes(10 << 20))))
    begun = work(limits=UnpackLimits(1 << 20))
    with pytest.raises(StepFailed, match="more than the 1048576 bytes") as caught:
        begun.trees.names_view(image, "") if form == "index" else begun.trees.ensure(image, "")
    assert caught.value.hints == (Hint.of("unpack-size"),)
    assert os.listdir(store.layout.indexes) == os.listdir(store.layout.trees) == os.listdir(store.layout.scratch) == []
    assert work().trees.view(image, "").iterdir("") == ["zeros"]

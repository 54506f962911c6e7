"""Layers as blobs: which one is chosen, and when one is written."""

from __future__ import annotations

import os

import pytest
from support.pulled import ME, ORIGIN, Builds, Registry, blob_of, directory, file, layer

from firkin.content.cached import CachedLayer
from firkin.content.format import LayerFormat
from firkin.content.snapshot import LayerRef
from firkin.errors import Cancelled, RegistryError, StepFailed
from firkin.layer.change import Change, Entry, Put
from firkin.layer.compress import iter_decompressed
from firkin.layer.tar import TarReader
from firkin.oci import media
from firkin.oci.digest import digest_of
from firkin.oci.image import Layer
from firkin.store.store import Store

BUILT = LayerRef("b" * 64)


def put(path: str, content: bytes = b"x") -> Change:
    return Put(path, Entry("file", 0o644, *ME, len(content), 5 * 10**9), content)


def names(store: Store, made: Layer) -> list[str]:
    reader = TarReader(iter_decompressed([store.blobs.read(made.descriptor.digest)]))
    return [member.name for member in iter(reader.next_member, None) if member]


def test_a_tree_is_written_once_for_each_form(store: Store, work: Builds) -> None:
    begun = work()
    begun.trees.write(BUILT.tree_id, [put("f")])
    heard: list[tuple[str, Layer]] = []
    begun.blobs.listen(lambda form, made: heard.append((form.compression, made)))
    first = begun.blobs.start(BUILT, LayerFormat())
    assert begun.blobs.start(BUILT, LayerFormat()) is first
    made = first.result()
    other = begun.blobs.start(BUILT, LayerFormat("zstd")).result()
    assert made.diff_id == other.diff_id
    assert names(store, made) == names(store, other) == ["f"]
    assert heard == [("gzip", made), ("zstd", other)]
    again = work()
    again.blobs.listen(lambda form, made: pytest.fail("it was written again"))
    assert again.blobs.start(BUILT, LayerFormat()).result() == made


def test_a_blob_that_is_cut_short_is_written_again(store: Store, work: Builds) -> None:
    work().trees.write(BUILT.tree_id, [put("f")])
    made = work().blobs.start(BUILT, LayerFormat()).result()
    os.truncate(store.blobs.path(made.descriptor.digest), 1)
    assert work().blobs.start(BUILT, LayerFormat()).result() == made
    assert names(store, made) == ["f"]


def test_pulled_layers_stay_what_they_are(registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    (ref,) = image.layers
    assert work().blobs.start(ref, LayerFormat("zstd", clamp_s=1)).result() == ref.pulled
    assert registry.asked == []


def test_a_cached_blob_will_do_until_it_turns_out_to_be_lost(registry: Registry, work: Builds) -> None:
    begun = work()
    cached, _ = blob_of(layer(file("gone")))

    def make() -> None:
        begun.trees.write(BUILT.tree_id, [put("made")])

    begun.cached.offer(BUILT.tree_id, CachedLayer(cached, "gzip:9:", ORIGIN), make)
    assert begun.blobs.start(BUILT, LayerFormat()).result() == cached
    assert begun.cached.origin(cached.descriptor.digest) == ORIGIN
    assert begun.cached.replace(BUILT.tree_id, RegistryError("gone"))
    assert begun.blobs.start(BUILT, LayerFormat()).result() != cached
    assert begun.cached.origin(cached.descriptor.digest) == ""


def test_a_cached_blob_of_another_form_is_not_taken(registry: Registry, work: Builds) -> None:
    cached, blob = blob_of(layer(file("f")))
    registry.blobs[cached.descriptor.digest] = blob
    begun = work()
    begun.cached.offer(BUILT.tree_id, CachedLayer(cached, "gzip::", ORIGIN), lambda: pytest.fail("it was made"))
    made = begun.blobs.start(BUILT, LayerFormat("zstd")).result()
    assert media.layer_compression(made.descriptor.media_type) == "zstd"
    assert registry.asked == [cached.descriptor.digest]


def test_paths_are_left_out_and_changes_are_heard(store: Store, work: Builds) -> None:
    folder = Put("var", Entry("dir", 0o755, *ME))
    made = work().blobs.write(
        BUILT.tree_id, [folder, put("var/log"), put("variant")], LayerFormat(ignore=("var",))
    )
    assert names(store, made) == ["variant"]


@pytest.mark.parametrize(("changes", "error"), [
    ([put(".wh.f")], StepFailed),
    ([put("f"), put("g")], Cancelled),
])  # fmt: skip
def test_what_fails_leaves_no_blob(
    store: Store, work: Builds, changes: list[Change], error: type[Exception]
) -> None:
    if error is Cancelled:
        work.cancel.set(15)
    with pytest.raises(error):
        work().blobs.write(BUILT.tree_id, changes, LayerFormat())
    assert os.listdir(store.layout.scratch) == []
    assert not any(files for _, _, files in os.walk(store.layout.blobs))
    assert store.records.layer_blobs(BUILT.tree_id) == ()


def test_another_compression_keeps_the_tar(
    store: Store, registry: Registry, work: Builds
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
    store: Store, registry: Registry, work: Builds
) -> None:
    image = registry.image(layer(file("f")), diff_ids=(digest_of(b"something else"),))
    with pytest.raises(RegistryError, match="but its image says"):
        work().blobs.start(image.layers[0], LayerFormat("zstd", force=True)).result()
    assert not any(files for _, _, files in os.walk(store.layout.blobs))

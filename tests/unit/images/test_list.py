"""Which images are listed, with which names, platforms and sizes."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from support.stored import keep, keep_index

from firkin.errors import StoreError
from firkin.images.list import Listed, list_images
from firkin.linux.machine import this_platform
from firkin.oci.reference import parse_reference
from firkin.store.store import Store


def fail(digest: str, error: StoreError) -> None:
    raise AssertionError(error)


def listed(store: Store, *, sizes: bool = False) -> list[Listed]:
    return list(list_images(store, fail, sizes=sizes))


def name(*tags: str) -> tuple[str, ...]:
    return tuple(f"docker.io/library/{tag}" for tag in tags)


def test_an_image_is_listed_once_with_all_its_names(store: Store) -> None:
    keep(store, "app:1", "other:1", author="a")
    unnamed = keep(store, author="b")
    store.images.tag(unnamed.manifest.descriptor, ())
    keep_index(store, "multi:1", *(keep(store, architecture=kind) for kind in ("amd64", "arm64")))
    found = listed(store)
    assert [image.names for image in found] == [name("app:1", "other:1"), (), name("multi:1")]
    assert [image.is_dangling for image in found] == [False, True, False]
    assert found[2].platforms == ("linux/amd64", "linux/arm64")


def test_manifests_with_one_configuration_are_one_image(store: Store) -> None:
    layers = (b"x" * 1000,)
    first = keep(store, "app:1", annotation="a", layers=layers)
    second = keep(store, "app:2", annotation="b", layers=layers)
    store.images.tag(second.manifest.descriptor, (parse_reference("r.io/app:2"),), pinned=True)
    (image,) = listed(store)
    assert image.id == first.config.digest
    assert image.names == (*name("app:1", "app:2"), "r.io/app:2")
    assert image.digests == (f"r.io/app@{second.manifest.digest}",)
    assert image.compressed_bytes == 1000 + sum(len(item.manifest.raw) + len(item.config.raw) for item in (first, second))


def test_a_digest_name_alone_is_a_name(store: Store) -> None:
    image = keep(store)
    store.images.tag(image.manifest.descriptor, (parse_reference(f"app@{image.manifest.digest}"),))
    (found,) = listed(store)
    assert (found.names, found.digests, found.is_dangling) == ((), name(f"app@{image.manifest.digest}"), False)


def test_an_index_is_listed_as_what_is_here_of_it(store: Store) -> None:
    here = this_platform().architecture
    images = [keep(store, architecture=kind) for kind in ("s390x", here, "riscv64")]
    index = keep_index(store, "multi:1", *images, platforms=True)
    os.unlink(store.blobs.path(images[2].manifest.digest))
    (found,) = listed(store)
    assert (found.id, found.root.digest) == (images[1].config.digest, index.digest)
    assert sorted(found.platforms) == sorted(("linux/s390x", f"linux/{here}"))
    for image in images[:2]:
        os.unlink(store.blobs.path(image.manifest.digest))
    told: list[StoreError] = []
    assert list_images(store, lambda digest, error: told.append(error)) == ()
    assert [error.code for error in told] == ["image-absent"]


def archive(*members: tuple[str, bytes | str, str]) -> bytes:
    """Return a tar of (name, content or target, kind)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content, kind in members:
            member = tarfile.TarInfo(path)
            if kind == "file":
                assert isinstance(content, bytes)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.type = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE}[kind]
                member.linkname = str(content) if content else ""
                tar.addfile(member)
    return out.getvalue()


LAYER = archive(
    ("dir", "", "dir"), ("dir/a", b"x" * 700, "file"), ("dir/b", "dir/a", "link"), ("link", "dir/ä", "symlink"),
    (".wh.gone", b"", "file"),
)  # fmt: skip
LAYER_BYTES = 700 + 6
"""As docker counts: a hard link once, the target of a symbolic link, nothing for directories and removals."""


def test_layers_that_nobody_measured_are_measured_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, "app:1", layers=(LAYER, archive(("c", b"y" * 30, "file")), LAYER))
    (found,) = listed(store, sizes=True)
    assert found.size_bytes == 2 * LAYER_BYTES + 30
    monkeypatch.setattr("firkin.content.sizes._measure", lambda store, layer: pytest.fail("it was measured again"))
    assert listed(store, sizes=True) == [found]
    assert listed(store)[0].size_bytes == -1


def test_a_layer_that_cannot_be_read_is_told_and_its_image_is_listed(store: Store) -> None:
    keep(store, "app:1", layers=(LAYER,))
    keep(store, "bad:1", layers=(b"no tar" * 200,))
    told: list[str] = []
    found = list_images(store, lambda digest, error: told.append(error.code))
    assert [(image.names, image.size_bytes) for image in found] == [(name("app:1"), LAYER_BYTES), (name("bad:1"), -1)]
    assert told == ["image-damaged"]


def test_a_damaged_image_is_told_of_and_hides_no_other(store: Store) -> None:
    gone, cut, changed = (keep(store, f"{word}:1", author=word) for word in ("gone", "cut", "changed"))
    keep(store, "app:2", author="b")
    assert len(listed(store)) == 4, "their facts are remembered"
    os.unlink(store.blobs.path(gone.config.digest))
    os.truncate(store.blobs.path(cut.manifest.digest), 20)
    with open(store.blobs.path(changed.config.digest), "r+b") as file:
        file.write(b"X")
    told: list[str] = []
    found = list_images(store, lambda digest, error: told.append(digest))
    assert [image.names for image in found] == [name("app:2")]
    assert told == [image.manifest.digest for image in (gone, cut, changed)]

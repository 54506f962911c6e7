"""Blobs that came only in part: one writer at a time, bounded, removed by prune, whole blobs in their place."""

from __future__ import annotations

import errno
import os
from hashlib import sha256

import pytest

from firkin.errors import StoreError
from firkin.oci.digest import Digest, digest_of
from firkin.store import partial
from firkin.store.gc import prune
from firkin.store.partial import KEPT_S, WORTH_BYTES, open_partial, tidy_partials
from firkin.store.store import Store

DATA = os.urandom(WORTH_BYTES + 100)
DIGEST = digest_of(DATA)


def files(store: Store) -> list[str]:
    return sorted(os.listdir(store.layout.downloads))


def left(store: Store, digest: Digest = DIGEST, size: int = WORTH_BYTES) -> str:
    blob = open_partial(store.layout, digest)
    blob.write(DATA[:size])
    blob.leave()
    return f"{store.layout.downloads}/{digest.partition(':')[2]}.part"


def test_what_was_left_is_read_again_and_gone_on_with(store: Store) -> None:
    left(store)
    blob = open_partial(store.layout, DIGEST)
    assert blob.size == WORTH_BYTES and b"".join(blob.held()) == DATA[:WORTH_BYTES]
    blob.write(DATA[WORTH_BYTES:])
    blob.commit()
    blob.leave()
    assert store.blobs.read(DIGEST) == DATA and files(store) == []
    assert os.stat(store.blobs.path(DIGEST)).st_mode & 0o777 == 0o644


def test_a_second_writer_takes_the_scratch_space(store: Store) -> None:
    first, second = open_partial(store.layout, DIGEST), open_partial(store.layout, DIGEST)
    for blob in (first, second):
        blob.write(DATA)
        blob.commit()
        blob.leave()
    assert store.blobs.read(DIGEST) == DATA and files(store) == []


def test_little_is_not_worth_keeping(store: Store) -> None:
    left(store, size=WORTH_BYTES - 1)
    assert files(store) == []


def test_nothing_stays_on_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    left(store)
    blob = open_partial(store.layout, DIGEST)

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(partial.os, "pwrite", full)
    with pytest.raises(StoreError) as caught:
        blob.write(b"x")
    blob.leave()
    assert caught.value.code == "disk-full" and files(store) == []


def test_the_oldest_go_first_and_a_locked_one_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [Digest(f"sha256:{sha256(bytes([number])).hexdigest()}") for number in range(3)]
    for digest in digests:
        left(store, digest)
    busy = open_partial(store.layout, digests[0])
    now = os.stat(store.layout.downloads).st_ctime
    tidy_partials(store.layout, now)
    assert len(files(store)) == 3
    monkeypatch.setattr(partial, "KEPT_BYTES", 2 * WORTH_BYTES + 16384)
    tidy_partials(store.layout, now)
    assert len(files(store)) == 2 and f"{digests[0].partition(':')[2]}.part" in files(store)
    tidy_partials(store.layout, now + KEPT_S + 60)
    assert files(store) == [f"{digests[0].partition(':')[2]}.part"]
    busy.leave()


def test_prune_removes_them_like_downloads(store: Store) -> None:
    path = left(store)
    used = os.stat(path).st_ctime
    prune(store, now=used + 100, older_than_s=3600)
    assert os.path.exists(path)
    freed = prune(store, now=used + 7300, older_than_s=3600).freed
    assert [item.kind for item in freed if item.name == DIGEST.partition(":")[2]] == ["download"]
    assert not os.path.exists(path)


def test_a_link_is_not_followed(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("elsewhere") / "file"
    target.write_text("kept")
    os.symlink(target, f"{store.layout.downloads}/{DIGEST.partition(':')[2]}.part")
    with pytest.raises(StoreError):
        open_partial(store.layout, DIGEST)
    assert target.read_text() == "kept"

"""Pulls that end in the middle, in whatever way: nothing is named, and the next one asks for the rest only."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.pulled import file, layer
from support.stored import make_image

from firkin.oci.image import Image
from firkin.testing.registry import FakeRegistry

pytestmark = [pytest.mark.registry, pytest.mark.faults]

MIB = 1 << 20
LARGE = layer(file("large", os.urandom(12 * MIB)))
SMALL = layer(file("small", b"small"))


@pytest.fixture
def faulty() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def serve(registry: FakeRegistry) -> Image:
    image = make_image(SMALL, LARGE)
    for data in (SMALL, LARGE, image.config.raw):
        registry.add_blob("app", data)
    registry.add_manifest("app", "1", image.manifest.media_type, image.manifest.raw)
    return image


def partial(firkin: Firkin) -> Path | None:
    found = list(firkin.store.glob("downloads/*.part"))
    return next((path for path in found if path.stat().st_size), None)


def asked(registry: FakeRegistry, image: Image) -> list[str]:
    seen = registry.requests("GET", f"/blobs/{image.layers[1].descriptor.digest}")
    return [request.headers.get("range", "") for request in seen]


def check_whole(firkin: Firkin, registry: FakeRegistry, image: Image) -> None:
    """A second pull completes the image, from where the first ended."""
    begun = partial(firkin)
    size = begun.stat().st_size if begun is not None else 0
    assert firkin.run("images", "-q").stdout == ""
    registry.seen.clear()
    firkin.run("pull", f"{registry.host}/app:1")
    assert asked(registry, image) == [f"bytes={size}-" if size else ""]
    assert partial(firkin) is None and list((firkin.store / "tmp").iterdir()) == []
    assert (firkin.store / "oci/blobs" / image.layers[1].descriptor.digest.replace(":", "/")).read_bytes() == LARGE


@pytest.mark.parametrize("cut", [MIB + 1, 5 * MIB, 12 * MIB, len(LARGE) - 1])
def test_killed_in_the_middle(firkin: Firkin, faulty: FakeRegistry, cut: int) -> None:
    """After `cut` bytes the connection breaks; before firkin asks again it is killed, as by a power failure."""
    image = serve(faulty)
    faulty.fail("GET", f"/blobs/{image.layers[1].descriptor.digest}", cut=cut)
    faulty.fail("GET", f"/blobs/{image.layers[1].descriptor.digest}", delay_s=30)
    process = firkin.popen("pull", f"{faulty.host}/app:1")
    deadline = time.monotonic() + 30
    while len(asked(faulty, image)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    begun = partial(firkin)
    assert begun is not None and MIB <= begun.stat().st_size <= cut
    faulty._faults.clear()
    check_whole(firkin, faulty, image)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_is_busy_for_a_while(firkin: Firkin, faulty: FakeRegistry, status: int) -> None:
    image = serve(faulty)
    faulty.fail("GET", "/blobs/", status=status, times=2)
    faulty.fail("HEAD", "/manifests/", status=status)
    said = firkin.run("pull", f"{faulty.host}/app:1").stdout
    assert f"Digest: {image.manifest.digest}\nStatus: Downloaded newer image for " in said


def test_a_registry_that_drops_every_connection(firkin: Firkin, faulty: FakeRegistry) -> None:
    """Each connection brings two mebibytes: one pull gets there, without asking for a byte twice."""
    image = serve(faulty)
    faulty.fail("GET", f"/blobs/{image.layers[1].descriptor.digest}", cut=2 * MIB, times=5)
    firkin.run("pull", f"{faulty.host}/app:1")
    starts = [int(text[6:-1]) if text else 0 for text in asked(faulty, image)]
    assert len(starts) == 6 and starts == sorted(set(starts))


@pytest.mark.root
def test_a_full_disk_keeps_nothing(firkin: Firkin, faulty: FakeRegistry) -> None:
    image = serve(faulty)
    firkin.store.mkdir(parents=True, exist_ok=True)
    options = f"size=8m,mode=755,uid={firkin.account.uid},gid={firkin.account.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", firkin.store], check=True)
    try:
        result = firkin.run("pull", f"{faulty.host}/app:1", check=False)
        assert result.returncode == 1 and "hint: " in result.stderr
        # The layer or, when no byte is left, the database: whichever is written first.
        assert "no space left on device" in result.stderr or "disk is full" in result.stderr
        assert partial(firkin) is None
        subprocess.run(["mount", "-o", "remount,size=64m", firkin.store], check=True)
        check_whole(firkin, faulty, image)
    finally:
        subprocess.run(["umount", "-l", firkin.store], check=True)

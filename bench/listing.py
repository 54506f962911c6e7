"""The list of 1,000 images beside `firkin --version`: what a store's size costs."""

from __future__ import annotations

import io
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Usage, wall_s
from support.stored import keep
from workloads import Place, Row, only_own

from firkin.store.store import Store

IMAGES = 1_000
BAR = 8.0


def fill(root: Path) -> None:
    """Make a store with 1,000 images of three layers, two of them shared by ten images each."""
    with Store(str(root), time.time) as store:
        for number in range(IMAGES):
            layers = tuple(map(_layer, (f"base-{number // 100}", f"tools-{number // 10}", f"app-{number}")))
            keep(store, f"registry.example/team/app{number // 10}:{number % 10}", layers=layers, author=str(number))


def _layer(name: str) -> bytes:
    """Return a layer of one file."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return data.getvalue()


def listing(place: Place) -> Iterator[Row]:
    """`images` of a store with 1,000 images; the floor is `firkin --version`, taken in turn."""
    root = place.root / "thousand"
    fill(root)
    script = str(Path(sys.executable).with_name("firkin"))
    environ = {**place.own.environment, "FIRKIN_ROOT": str(root)}
    wall_s([script, "images"], environ)  # the first list measures the layers
    version, times = [], []
    for _ in range(4 * place.rounds):
        version.append(wall_s([script, "--version"], environ))
        times.append(wall_s([script, "images"], environ))
    ratios = sorted(time / floor for time, floor in zip(times, version, strict=True))
    ratio = ratios[len(ratios) // 2]
    runs = only_own([Usage(seconds, 0, 0, 0, 0, 0) for seconds in times])
    yield Row("listing", f"images, {IMAGES:,} in the store", runs, version, f"{BAR:.0f} x --version", ratio <= BAR,
              f"{ratio:.1f} x")  # fmt: skip

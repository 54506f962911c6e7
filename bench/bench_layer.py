"""Layers out and in against their floors: GNU tar, pigz and coreutils, pair by pair in one run.

    python bench/bench_layer.py [--pairs 5] [--place DIR] [--json FILE] [--own-process] [TREE ...]

TREE is a directory to make a layer of; without one, 22,000 small files and 1 GiB in 64 files are made.
Out: `tar c DIR | pigz -1 | tee >(sha256sum) | wc -c` against changes, tar, digest, gzip, digest, count.
In: `pigz -dc LAYER | tar x` against verified, teed, inflated, verified, unpacked. Each tree of the "in"
part goes to a new place and all are removed at the end: ext4 is slow to make files right after many
were removed, which would hit whoever comes next.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from firkin.layer.confined import start_confined, unpack_confined
from firkin.layer.scan import iter_upper_changes, scan_tree
from firkin.layer.stream import LayerDigests, write_layer
from firkin.oci.descriptor import Descriptor


def make_many(place: str, count: int = 22_000) -> str:
    random.seed(2)
    words = [f"t{random.randrange(20_000):05}" for _ in range(20_000)]
    for number in range(count):
        folder = f"{place}/p{number // 20}/lib"
        if number % 20 == 0:
            os.makedirs(folder)
        with open(f"{folder}/f{number}.js", "w") as file:
            file.write(" ".join(random.choices(words, k=600)))
    return place


def make_bulk(place: str, files: int = 64, mebibytes: int = 16) -> str:
    random.seed(3)
    half = b"0123456789abcdef" * 32768
    os.makedirs(place)
    for number in range(files):
        with open(f"{place}/{number:02}", "wb") as file:
            for _ in range(mebibytes):
                file.write(half + random.randbytes(len(half)))
    return place


class Count:
    """A sink that only counts, as `wc -c`."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def shell(script: str) -> None:
    subprocess.run(["bash", "-c", "set -o pipefail; " + script], check=True, stdout=subprocess.DEVNULL)


def chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while data := file.read(128 << 10):
            yield data


def bench_out(tree: str, pairs: int) -> tuple[list[float], list[float]]:
    firkin, floor = [], []
    for _ in range(pairs):
        firkin.append(timed(lambda: write_layer(iter_upper_changes(tree), Count())))
        floor.append(timed(lambda: shell(f"tar c -C '{tree}' . | pigz -1 | tee >(sha256sum >/dev/null) | wc -c")))
    return firkin, floor


def bench_in(tree: str, place: str, pairs: int) -> tuple[list[float], list[float]]:
    blob = f"{place}/layer"
    with open(blob, "wb", buffering=0) as sink:
        digests: LayerDigests = write_layer(iter_upper_changes(tree), sink)
    descriptor = Descriptor("", digests.digest, digests.size)
    firkin, floor = [], []

    def unpack(number: int) -> None:
        os.mkdir(f"{place}/firkin-{number}")
        with open(f"{place}/blob-{number}", "wb", buffering=0) as sink:
            unpack_confined(chunks(blob), descriptor, digests.diff_id, f"{place}/firkin-{number}", sink)

    def unpack_by_tar(number: int) -> None:
        os.mkdir(f"{place}/tar-{number}")
        shell(f"pigz -dc '{blob}' | tar x -C '{place}/tar-{number}'")

    for number in range(pairs):
        # Each goes first in turn: where files were removed lately, the first finds the slow places of the disk.
        if number % 2:
            floor.append(timed(lambda number=number: unpack_by_tar(number)))
        firkin.append(timed(lambda number=number: unpack(number)))
        if not number % 2:
            floor.append(timed(lambda number=number: unpack_by_tar(number)))
    return firkin, floor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--place", help="directory for scratch; default: the temporary directory")
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("trees", nargs="*")
    parser.add_argument("--own-process", action="store_true", help="unpack in this process, as without confinement")
    options = parser.parse_args()
    if not options.own_process:
        start_confined()
    place = tempfile.mkdtemp(prefix="firkin-bench-", dir=options.place)
    rows = []
    try:
        trees = options.trees or [make_many(f"{place}/many"), make_bulk(f"{place}/bulk")]
        for tree in trees:
            files = len(scan_tree(tree))
            for name, (firkin, floor) in (
                ("out", bench_out(tree, options.pairs)),
                ("in", bench_in(tree, place, options.pairs)),
            ):
                row = {
                    "tree": os.path.basename(tree),
                    "files": files,
                    "way": name,
                    "firkin_s": round(statistics.median(firkin), 3),
                    "floor_s": round(statistics.median(floor), 3),
                    "ratio": round(statistics.median(a / b for a, b in zip(firkin, floor)), 2),
                    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                }
                rows.append(row)
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            for item in os.listdir(place):
                if item.startswith(("firkin-", "tar-", "blob-", "layer")):
                    os.rename(f"{place}/{item}", f"{place}/old-{len(rows)}-{item}")
    finally:
        shutil.rmtree(place)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
    return int(any(row["ratio"] > 1 for row in rows))


if __name__ == "__main__":
    sys.exit(main())

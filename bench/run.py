"""Measure firkin against floors and against every peer that is installed: make bench [WORKLOAD=NAME].

    python bench/run.py [--rounds 5] [--minutes 5] [--no-peers] [--json FILE] [WORKLOAD ...]

Machines are shared and noisy, so what counts are ratios of runs taken in turn (A B C A B C …) and medians. Writes
bench/results.json and bench/results.svg when everything was measured, and the table to the terminal always.
`scale` runs tests/e2e/test_scale.py at full size; it is not part of the rest.
"""

import argparse
import compileall
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import workloads
from builders import OwnBuilder, find_peers
from containers import containers
from listing import listing
from plot import draw
from support.accounts import remove_with_subordinate_ids
from support.places import REPOSITORY
from support.registry import Registry, running_registry
from workloads import Place, Row

HERE = Path(__file__).resolve().parent
BASE = "library/bench:bookworm"
NEEDED_BYTES = 40e9
WORKLOADS = {**workloads.WORKLOADS, "listing": listing, "containers": containers}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}, scale; all without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=5, help="peers are not started after this time")
    parser.add_argument("--peer-seconds", type=float, default=10, help="a peer gets no further round after this time")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--place", help="directory for contexts and stores; default: the temporary directory")
    parser.add_argument("--json", type=Path, help="file for the figures; default: results.json if all was measured")
    options = parser.parse_args()
    if options.workloads == ["scale"]:
        return scale()
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown workload: {', '.join(sorted(unknown))}")
    begin = time.monotonic()
    deadline = begin + options.minutes * 60
    # Edited files must not be compiled anew by each start.
    compileall.compile_dir(REPOSITORY / "src", quiet=1)
    place = Path(tempfile.mkdtemp(prefix="firkin-bench-", dir=options.place))
    place.chmod(0o755)
    free = shutil.disk_usage(place).free
    if free < NEEDED_BYTES and not options.workloads:
        print(f"note: {free / 1e9:.0f} GB are free in {place}; all workloads want 40 GB", file=sys.stderr)
    rows: list[Row] = []
    builders: list[Any] = []
    try:
        with running_registry() as registry:
            registry.seed_bases("bench", "busybox")
            base = registry.reference(BASE)
            own = OwnBuilder(place, registry.host, base)
            peers, absent = ([], {}) if options.no_peers else find_peers(place, registry.host, base)
            builders += [own, *peers]
            there = Place(
                place, registry.host, _layers(registry), base, own, peers,
                options.rounds, options.peer_seconds, deadline,
            )  # fmt: skip
            for name, why in absent.items():
                print(f"without {name}: {why}", flush=True)
            print(HEADER, flush=True)
            for name in options.workloads or WORKLOADS:
                for row in WORKLOADS[name](there):
                    rows.append(row)
                    print(text_of(row), flush=True)
                print(f"{'':40} {time.monotonic() - begin:.0f} s since the start", file=sys.stderr, flush=True)
            document = document_of(rows, builders, absent)
    finally:
        for builder in builders:
            builder.close()
        remove_with_subordinate_ids(place)
    target = options.json or (None if options.workloads else HERE / "results.json")
    if target is not None:
        target.write_text(json.dumps(document, indent=1) + "\n")
        target.with_suffix(".svg").write_text(draw(document))
    return 0


def scale() -> int:
    """Run the tests of large things at full size; they print their figures."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "tests/e2e/test_scale.py"]
    return subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "FIRKIN_SCALE": "full"}).returncode


def _layers(registry: Registry) -> list[Path]:
    """Return the blobs of the base's layers in the registry's storage."""
    blobs = registry.storage / "docker/registry/v2/blobs/sha256"
    digests = [layer["digest"].partition(":")[2] for layer in registry.manifest(BASE)["layers"]]
    return [blobs / digest[:2] / digest / "data" for digest in digests]


# --- table and document ----------------------------------------------------------------------------------------------

HEADER = (
    f"{'':40} {'':9} {'wall':>9} {'ratio':>7} {'CPU':>8} {'peak':>7} {'process':>8} {'read':>8} {'written':>8}  rounds"
)


def text_of(row: Row) -> str:
    lines = []
    title = f"{row.workload}: {row.what.strip()}"
    for name, usage in row.medians().items():
        ratio = "" if name == "firkin" else f"{row.ratio(name):.1f}x"
        figures = f"{_seconds(usage.wall_s):>9} {ratio:>7}"
        if usage.cpu_s:
            figures += (
                f" {_seconds(usage.cpu_s):>8} {_megabytes(usage.tree_bytes):>7} {_megabytes(usage.process_bytes):>8}"
                f" {_megabytes(usage.read_bytes):>8} {_megabytes(usage.written_bytes):>8}"
            )
        lines.append(f"{title:40} {name:9} {figures}  {len(row.runs[name])}")
        title = ""
    if row.floors:
        lines.append(f"{'':40} {'floor':9} {_seconds(statistics.median(row.floors)):>9}")
    verdict = {None: "", True: "ok", False: "ABOVE THE BAR"}[row.met]
    tail = "; ".join(part for part in (row.note, f"bar {row.bar}: {verdict}" if row.bar else "") if part)
    if tail:
        lines.append(f"{'':40} {tail}")
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB" if value >= 1e6 else "0"


def document_of(rows: list[Row], builders: list[Any], absent: dict[str, str]) -> dict[str, Any]:
    """Return everything as it goes to results.json."""
    system = os.uname()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "kernel": ".".join(system.release.split(".")[:2]),
            "architecture": system.machine,
            "python": platform.python_version(),
        },
        "builders": {builder.name: builder.version() for builder in builders},
        "absent": absent,
        "rows": [
            {
                "workload": row.workload,
                "what": row.what.strip(),
                "bar": row.bar,
                "met": row.met,
                "note": row.note,
                "floor_s": round(statistics.median(row.floors), 4) if row.floors else None,
                "builders": {
                    name: {
                        "rounds": len(row.runs[name]),
                        **({} if name == "firkin" else {"ratio": round(row.ratio(name), 2)}),
                        **{key: round(value, 4) for key, value in asdict(usage).items()},
                    }
                    for name, usage in row.medians().items()
                },
            }
            for row in rows
        ],
    }


if __name__ == "__main__":
    sys.exit(main())

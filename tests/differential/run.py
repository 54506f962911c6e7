"""Builds generated cases with firkin and with a BuildKit, and tells where the images differ. Does I/O.

    PYTHONPATH=tests python -m differential.run [--seeds FIRST:LAST] [--minutes N] [--keep DIR] [CASE.json ...]

`tests/differential/`:

* `generate.py` makes a case of a seed: a context with files of every kind, an ignore file, trees made by RUN, COPY and ADD
  with their flags; or variables and settings.
* `builders.py` runs firkin and the BuildKit there is: buildctl with BUILDKIT_HOST, the dockerd of DOCKER_HOST, or a dockerd
  (Debian's docker.io) of the test's own, which needs root. Bases come from a registry that has library/busybox.
* `compare.py` compares what came of it: names, types, modes, owners, links, contents, extended attributes, and times where
  BuildKit does not leave them to the clock; the runtime configuration and the text of the history. Its table KNOWN holds
  the differences that have a reason, by version of BuildKit, so that what is told always means something.
* `corpus/` keeps cases that found something, as a whole: seeds mean another case when the generator changes.

`make test` builds the corpus and a minute of seeds (`test_differential.py`); this program goes on for hours.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from differential.builders import Builder, Firkin, missing, running_buildkit
from differential.cases import Case
from differential.compare import Difference, compare, unknown
from differential.generate import generate

CORPUS = Path(__file__).parent / "corpus"


def corpus() -> list[Case]:
    """Return the cases that are kept, in the order of their names."""
    return [Case.from_json(path.read_text()) for path in sorted(CORPUS.glob("*.json"))]


def differences(case: Case, buildkit: Builder, firkin: Builder, place: Path) -> list[Difference]:
    """Build a case twice and return the differences that are not known."""
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        dockerfile, context = case.lay(folder)
        theirs = buildkit.build(case, dockerfile, context, folder)
        ours = firkin.build(case, dockerfile, context, folder)
        return unknown(case, buildkit.version, compare(theirs, ours))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cases(seeds: range | None, deadline: float) -> Iterator[Case]:
    """Yield the cases of seeds, or of ones never seen, until the time is over."""
    numbers = iter(seeds) if seeds is not None else iter(lambda: random.randrange(1 << 40), None)
    for number in numbers:
        if time.monotonic() > deadline:
            return
        yield generate(number)


def main() -> int:
    """Run as a program; the status is 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", type=Path, help="cases of the corpus, in place of seeds")
    parser.add_argument("--seeds", default="", help="FIRST:LAST; without it seeds are chosen at random")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--registry", default=os.environ.get("REGISTRY", "127.0.0.1:5000"))
    parser.add_argument("--keep", type=Path, help="write cases that differ into this directory")
    options = parser.parse_args()
    if why := missing():
        print(f"nothing to compare with: {why}", file=sys.stderr)
        return 2
    first, _, last = options.seeds.partition(":")
    seeds = range(int(first), int(last)) if options.seeds else None
    deadline = time.monotonic() + options.minutes * 60
    given = [Case.from_json(path.read_text()) for path in options.cases]
    count = wrong = 0
    with tempfile.TemporaryDirectory() as name, running_buildkit(Path(name), options.registry) as buildkit:
        place = Path(name)
        firkin = Firkin(place / "store", options.registry)
        for case in given or cases(seeds, deadline):
            count += 1
            found = differences(case, buildkit, firkin, place)
            if not found:
                continue
            wrong += 1
            print(f"--- case {case.name}\n{case.dockerfile}", *map(str, found), sep="\n", flush=True)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{case.name}.json").write_text(case.to_json())
    print(f"{count} cases, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

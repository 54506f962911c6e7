"""Coverage-guided fuzzing of everything that reads what strangers wrote, for a bounded time.

    python tests/fuzz/fuzz_dockerfile.py [SECONDS] [CORPUS]      # default: 60 seconds

Needs atheris (`pip install atheris`), which no other test does; without it the script says so and ends with 77.
The rule: arbitrary bytes raise only the errors of the contract, a DockerfileError with a position inside the
text. Whatever else is raised ends the run, and atheris writes the input into a file `crash-*`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CASES = REPOSITORY / "tests/conformance/cases"
SKIPPED = 77


def main() -> int:
    """Fuzz until the time is over."""
    try:
        import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        print("skipped: atheris is not installed (pip install atheris)", file=sys.stderr)
        return SKIPPED
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "tests")]
    with atheris.instrument_imports(include=["firkin"]):
        import fuzz.targets as targets
    corpus = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("fuzz-corpus")
    corpus.mkdir(exist_ok=True)
    if not any(corpus.iterdir()):
        seed(corpus, len(targets.TARGETS))
    one: Callable[[bytes], None] = targets.run
    words = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"]
    if (REPOSITORY / "tests/fuzz/dockerfile.dict").exists():
        words.append(f"-dict={REPOSITORY / 'tests/fuzz/dockerfile.dict'}")
    atheris.Setup([*words, str(corpus)], one)
    atheris.Fuzz()
    return 0


def seed(corpus: Path, kinds: int) -> None:
    """Fill an empty corpus with the Dockerfiles and ignore files of the conformance cases."""
    for number, place in enumerate(sorted(CASES.glob("*/Dockerfile"))):
        for kind in {0, 1, number % kinds}:
            (corpus / f"{place.parent.name}-{kind}").write_bytes(bytes([kind]) + place.read_bytes())
    for place in sorted(CASES.glob("*/context/.dockerignore")):
        (corpus / f"{place.parent.parent.name}-ignore").write_bytes(b"\x02" + place.read_bytes())


if __name__ == "__main__":
    sys.exit(main())

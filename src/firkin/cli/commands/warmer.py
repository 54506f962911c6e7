"""`firkin warmer`, also `firkin-warmer`, and `/kaniko/warmer` in the image. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.kaniko.flags import option_rows

FINE_EXIT_CODES = True
USAGE = "--image NAME... [FLAGS]"
ABOUT = (
    "Fetch base images into a directory that executors read them from (`--cache-dir`), with the command line of the "
    "Kaniko warmer."
)
OPTIONS = option_rows("warmer")


def main(words: list[str]) -> int:
    """Run the warmer."""
    from firkin.cli.kaniko.executor import run_warmer

    return run_warmer(words)

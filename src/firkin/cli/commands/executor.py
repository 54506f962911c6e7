"""`firkin executor`, also `firkin-executor`, and `/kaniko/executor` in the image. Does I/O. Only `cli.run` may import
it.
"""

from __future__ import annotations

from firkin.cli.kaniko.flags import option_rows

FINE_EXIT_CODES = True
USAGE = "[FLAGS] | push TAR|LAYOUT -d NAME | login REGISTRY | version"
ABOUT = (
    "Build and push an image with the command line of the Kaniko executor, for jobs that are written for it. "
    "`--explain-flags` tells what each flag does here; flags are spelt as in Go: booleans never take a second word."
)
OPTIONS = option_rows("executor")


def main(words: list[str]) -> int:
    """Run the executor."""
    from firkin.cli.kaniko.executor import run_executor

    return run_executor(words)

"""`firkin buildx version`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin import __version__
from firkin.about.as_docker import BUILDX_VERSION
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.run import write_out

USAGE = "[OPTIONS]"
ABOUT = "Show the version of the buildx that firkin follows, as buildx prints it, and firkin's own."
OPTIONS = COMMON


def run(invocation: Invocation) -> int:
    """Print name, version and revision. Mirrors: docker/buildx commands/version.go."""
    write_out(f"github.com/docker/buildx v{BUILDX_VERSION} firkin-{__version__}\n")
    return 0

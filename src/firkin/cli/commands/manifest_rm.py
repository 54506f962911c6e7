"""`firkin manifest rm`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.manifests import named
from firkin.cli.options import COMMON
from firkin.cli.several import each
from firkin.cli.store import open_store
from firkin.images.joining import no_list
from firkin.images.manifest_lists import remove_list
from firkin.oci.reference import Reference

USAGE = "[OPTIONS] LIST..."
ABOUT = "Remove lists from the store; what was pushed stays in its registry."
OPTIONS = COMMON


def run(invocation: Invocation) -> int:
    """Remove lists; every one is tried. Raises UsageError."""
    names = named(invocation, "rm", 1)
    store, _ = open_store(invocation)

    def remove(name: Reference) -> None:
        if not remove_list(store, name):
            raise no_list(name)

    with store:
        each(names, remove)
    return 0

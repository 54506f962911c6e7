"""`firkin manifest inspect`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.manifests import INSECURE, named, with_registries
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.images.describing import describe_entry, describe_manifest
from firkin.images.progress import Transfer

USAGE = "[OPTIONS] [LIST] IMAGE"
ABOUT = "Show a list of the store, one image of it, or else the manifest or index that a name means in its registry."
OPTIONS = (
    Option(("--verbose", "-v"), "verbose", "flag", "show names, descriptors and raw bytes as well", takes_value=False),
    INSECURE,
    *REGISTRY,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Print JSON. Raises UsageError, RegistryError."""
    *lists, name = names = named(invocation, "inspect", 1, 2)
    verbose = invocation.arguments.flag("verbose")

    def work(transfer: Transfer) -> int:
        if lists:
            text = describe_entry(transfer, lists[0], name, verbose=verbose)
        else:
            text = describe_manifest(transfer, name, verbose=verbose)
        write_out(text + "\n")
        return 0

    return with_registries(invocation, names, work)

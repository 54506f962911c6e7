"""`firkin manifest create`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.manifests import INSECURE, named, with_registries
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.store import warn_plainly
from firkin.errors import UsageError
from firkin.images.joining import create_list
from firkin.images.progress import Transfer

USAGE = "[OPTIONS] LIST IMAGE..."
ABOUT = (
    "Begin a list of images, one for each platform, under one name. It is kept in the store until "
    "`firkin manifest push` pushes it. IMAGE is looked up in its registry, then in the store; an index counts for all "
    "of its images."
)
OPTIONS = (
    Option(("--amend", "-a"), "amend", "flag", "add to a list that exists", takes_value=False),
    INSECURE,
    *REGISTRY,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Look the images up and keep the list. Raises UsageError, RegistryError."""
    name, *sources = names = named(invocation, "create", 2)
    if name.digest is not None:
        raise UsageError(f"`{name}` has a digest; a list is pushed to a tag")

    def work(transfer: Transfer) -> int:
        create_list(transfer, name, sources, warn_plainly, amend=invocation.arguments.flag("amend"))
        write_out(f"Created manifest list {name}\n")
        return 0

    return with_registries(invocation, names, work)

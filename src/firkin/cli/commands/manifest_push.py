"""`firkin manifest push`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.manifests import INSECURE, named, with_registries
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.images.joining import push_list
from firkin.images.progress import Transfer
from firkin.oci.reference import Reference

USAGE = "[OPTIONS] LIST"
ABOUT = (
    "Push a list that `firkin manifest create` began, and the images of it that its repository lacks. Prints the "
    "digests."
)
OPTIONS = (
    Option(("--purge", "-p"), "purge", "flag", "remove the list from the store when it is pushed", takes_value=False),
    INSECURE,
    *REGISTRY,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Push images, then the list. Raises UsageError, RegistryError."""
    (name,) = names = named(invocation, "push", 1, 1)

    def pushed(image: Reference) -> None:
        write_out(f"Pushed ref {image} with digest: {image.digest}\n")

    def work(transfer: Transfer) -> int:
        write_out(f"{push_list(transfer, name, pushed, purge=invocation.arguments.flag('purge'))}\n")
        return 0

    return with_registries(invocation, names, work)

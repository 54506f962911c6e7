"""`firkin manifest annotate`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.manifests import named
from firkin.cli.options import COMMON, Option
from firkin.cli.store import open_store
from firkin.cli.values import csv_fields
from firkin.images.joining import annotate_list
from firkin.images.manifest_lists import EntryPlatform

USAGE = "[OPTIONS] LIST IMAGE"
ABOUT = "Say for which platform an image of a list is, where its configuration does not say it or is wrong."
OPTIONS = (
    Option(("--os",), "os", "text", "the operating system", "NAME"),
    Option(("--arch",), "arch", "text", "the architecture", "NAME"),
    Option(("--variant",), "variant", "text", "the architecture's variant", "NAME"),
    Option(("--os-version",), "os_version", "text", "the operating system's version", "VERSION"),
    Option(("--os-features",), "os_features", "many", "features of the operating system that it needs", "NAME[,NAME]"),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Change the list in the store. Raises UsageError."""
    arguments = invocation.arguments
    name, image = named(invocation, "annotate", 2, 2)
    features = [field for text in arguments.many("os_features") for field in csv_fields("--os-features", text)]
    platform = EntryPlatform(
        arguments.text("arch"), arguments.text("os"), arguments.text("os_version"), tuple(features),
        arguments.text("variant"),
    )  # fmt: skip
    store, _ = open_store(invocation)
    with store:
        annotate_list(store, name, image, platform)
    return 0

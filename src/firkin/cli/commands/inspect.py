"""`firkin inspect`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/image/inspect.go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from firkin.cli.command import Invocation
from firkin.cli.inspected import Objects, read_kind
from firkin.cli.options import COMMON, Option
from firkin.cli.platforms import read_platform
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.errors import FirkinError, UsageError
from firkin.oci.platform import Platform
from firkin.render.documents import documents_text
from firkin.templates.failure import TemplateError

if TYPE_CHECKING:
    from firkin.images.find import Found
    from firkin.store.store import Store

USAGE = "[OPTIONS] NAME|ID..."
ABOUT = (
    "Show what containers, images and volumes are, as the JSON of docker's Engine. A name that several have means the "
    "container, then the image. What is found is printed also when others are missing."
)
OPTIONS = (
    Option(("--format", "-f"), "format", "text", "`json` (on one line), or a Go template for each image", "FORMAT"),
    Option(("--platform",), "platform", "text", "show this platform of the images", "OS/ARCH[/VARIANT]"),
    Option(("--raw",), "raw", "choice", "print the exact bytes of the manifest (or index) or of the configuration",
           "manifest|config", (), ("manifest", "config")),
    Option(("--type",), "type", "text", "look for a `container`, an `image` or a `volume` only", "TYPE"),
    Option(("--size", "-s"), "size", "flag", "show also what the files of containers take", takes_value=False),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Print a JSON array, text of a template, or raw bytes. Raises UsageError, ContainerError, TemplateError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin inspect` needs a name or an id")
    platform = read_platform(arguments.text("platform"))
    kind = read_kind(arguments.text("type", "image" if platform is not None else ""))
    with Objects(invocation, platform, size=arguments.flag("size")) as objects:
        if arguments.given("raw"):
            each(arguments.operands, lambda text: _write_raw(objects.store, text, platform, arguments.text("raw")))
            return 0
        return _print_documents(objects, arguments.operands, kind, arguments.text("format"))


def _print_documents(objects: Objects, texts: tuple[str, ...], kind: str, form: str) -> int:
    documents: list[dict[str, Any]] = []
    failure: FirkinError | None = None
    try:
        each(texts, lambda text: documents.append(objects.find(text, kind)))
    except FirkinError as error:
        failure = error
    try:
        write_out(documents_text(form, documents, objects.shape))
    except TemplateError as error:
        write_out(error.written)
        raise
    if failure is not None:
        raise failure
    return 0


def _write_raw(store: Store, text: str, platform: Platform | None, what: str) -> None:
    from firkin.cli.store import find_image

    found = find_image(store, text, platform)
    _write(found.image.config.raw if what == "config" else _manifest(store, found, platform))


def _manifest(store: Store, found: Found, platform: Platform | None) -> bytes:
    """Return the document that the name points to, or the manifest of the platform that was asked for."""
    return found.image.manifest.raw if platform is not None else store.blobs.read(found.root.digest)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]

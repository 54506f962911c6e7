"""`firkin inspect`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/image/inspect.go."""

from __future__ import annotations

import os
from typing import Any

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.platforms import read_platform
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.cli.store import find_image, open_store
from firkin.errors import FirkinError, UsageError
from firkin.images.find import Found
from firkin.images.inspect import inspect_image
from firkin.oci.platform import Platform
from firkin.render.documents import documents_text
from firkin.store.store import Store
from firkin.templates.failure import TemplateError
from firkin.templates.values import NO_LIST, NO_MAP, NO_POINTER

USAGE = "[OPTIONS] IMAGE..."
ABOUT = (
    "Show what images of the store are, as the JSON of docker's Engine. IMAGE is a name, an id or the beginning of "
    "one. What is found is printed also when others are missing."
)
OPTIONS = (
    Option(("--format", "-f"), "format", "text", "`json` (on one line), or a Go template for each image", "FORMAT"),
    Option(("--platform",), "platform", "text", "show this platform of the images", "OS/ARCH[/VARIANT]"),
    Option(("--raw",), "raw", "choice", "print the exact bytes of the manifest (or index) or of the configuration",
           "manifest|config", (), ("manifest", "config")),
    Option(("--type",), "type", "text", "only `image`: there are no other objects yet", "TYPE"),
    Option(("--size", "-s"), "", "ignored", "only containers have other sizes", takes_value=False),
    *COMMON,
)  # fmt: skip

_SHAPE: dict[str, Any] = {
    "Id": "", "RepoTags": NO_LIST, "RepoDigests": NO_LIST, "Parent": "", "Comment": "", "Created": "",
    "DockerVersion": "", "Author": "", "Architecture": "", "Variant": "", "Os": "", "OsVersion": "", "Size": 0,
    "Config": {
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False,
        "AttachStderr": False, "ExposedPorts": NO_MAP, "Tty": False, "OpenStdin": False, "StdinOnce": False,
        "Env": NO_LIST, "Cmd": NO_LIST, "Healthcheck": NO_POINTER, "ArgsEscaped": False, "Image": "",
        "Volumes": NO_MAP, "WorkingDir": "", "Entrypoint": NO_LIST, "NetworkDisabled": False, "MacAddress": "",
        "OnBuild": NO_LIST, "Labels": NO_MAP, "StopSignal": "", "StopTimeout": NO_POINTER, "Shell": NO_LIST,
    },
    "GraphDriver": {"Data": NO_MAP, "Name": ""},
    "RootFS": {"Type": "", "Layers": NO_LIST},
    "Metadata": {"LastTagTime": ""},
    "Descriptor": NO_POINTER,
    "Manifests": NO_LIST,
}  # fmt: skip
"""What a template finds where a document has nothing: as the fields of Go's InspectResponse. `.ID` is `.Id`."""


def run(invocation: Invocation) -> int:
    """Print a JSON array, text of a template, or raw bytes. Raises UsageError, TemplateError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin inspect` needs an image")
    if arguments.text("type", "image") != "image":
        raise UsageError(f"there is no object of type `{arguments.text('type')}` yet", hints=("`--type image`",))
    platform = read_platform(arguments.text("platform"))
    store, _ = open_store(invocation)
    with store:
        if arguments.given("raw"):
            each(arguments.operands, lambda text: _write_raw(store, text, platform, arguments.text("raw")))
            return 0
        return _print_documents(store, arguments.operands, platform, arguments.text("format"))


def _print_documents(store: Store, texts: tuple[str, ...], platform: Platform | None, form: str) -> int:
    documents: list[dict[str, Any]] = []
    failure: FirkinError | None = None
    try:
        each(texts, lambda text: documents.append(inspect_image(store, find_image(store, text, platform))))
    except FirkinError as error:
        failure = error
    try:
        write_out(documents_text(form, documents, _SHAPE))
    except TemplateError as error:
        write_out(error.written)
        raise
    if failure is not None:
        raise failure
    return 0


def _write_raw(store: Store, text: str, platform: Platform | None, what: str) -> None:
    found = find_image(store, text, platform)
    _write(found.image.config.raw if what == "config" else _manifest(store, found, platform))


def _manifest(store: Store, found: Found, platform: Platform | None) -> bytes:
    """Return the document that the name points to, or the manifest of the platform that was asked for."""
    return found.image.manifest.raw if platform is not None else store.blobs.read(found.root.digest)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]

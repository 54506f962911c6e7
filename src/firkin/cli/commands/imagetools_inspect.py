"""`firkin buildx imagetools inspect`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.store import open_client, with_interrupts
from firkin.errors import UsageError
from firkin.images.attested import Attested
from firkin.images.names import read_reference
from firkin.oci.manifest import Index
from firkin.oci.reference import Reference
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] NAME"
ABOUT = "Show what a name points to in its registry: the manifest, or the index with its entries."
OPTIONS = (
    Option(("--raw",), "raw", "flag", "print the exact bytes", takes_value=False),
    Option(("--format",), "format", "text",
           "print with a template: .Name .Manifest .Image .SBOM .Provenance, e.g. `{{json .Provenance}}`", "TEMPLATE"),
    Option(("--builder",), "", "ignored", "there is one builder, firkin itself; every name means it"),
    *REGISTRY,
    *COMMON,
)  # fmt: skip
_INDENT = 2


def run(invocation: Invocation) -> int:
    """Print the manifest or index. Raises UsageError, RegistryError."""
    from firkin.cli.requests import settings_of

    arguments = invocation.arguments
    if len(arguments.operands) != 1:
        raise UsageError("`firkin buildx imagetools inspect` takes one name")
    (text,) = arguments.operands
    name = read_reference(text)
    settings = settings_of(arguments, invocation.ambient)
    if arguments.flag("raw") and arguments.given("format"):
        raise UsageError("format and raw cannot be used together")

    def work(cancel: Cancel) -> int:
        with open_client(settings, cancel) as client:
            found = Attested(client, name)
            template = arguments.text("format")
            if arguments.flag("raw"):
                _write(found.document.raw)
            elif template.replace(" ", "") in ("", "{{.Manifest}}"):
                write_out(_shown(found, name))
            else:
                write_out(_formatted(template, text, found))
        return 0

    return with_interrupts(work)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _shown(found: Attested, name: Reference) -> str:
    root = found.document.descriptor
    text = _aligned([("Name:", str(name)), ("MediaType:", root.media_type), ("Digest:", root.digest)])
    if not isinstance(found.document, Index):
        return text
    text += _aligned([("", ""), ("Manifests:", "")])
    rows: list[tuple[str, str]] = []  # of one block of columns, which ends with annotations
    for number, child in enumerate(found.children):
        rows += [("", "")] * bool(number) + _rows(child, name)
        notes = child.get("annotations") or {}
        if notes:
            text += _aligned([*rows, ("  Annotations:", "")])
            text += _aligned([(f"    {key}:", value) for key, value in sorted(notes.items())])
            rows = []
    return text + _aligned(rows)


def _rows(child: Mapping[str, Any], name: Reference) -> list[tuple[str, str]]:
    rows = [("  Name:", f"{name}@{child['digest']}"), ("  MediaType:", child["mediaType"])]
    platform = child.get("platform") or {}
    if platform:
        parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
        rows.append(("  Platform:", "/".join(part for part in parts if part)))
    if platform.get("os.version"):
        rows.append(("  OSVersion:", platform["os.version"]))
    if platform.get("os.features"):
        rows.append(("  OSFeatures:", ", ".join(platform["os.features"])))
    if child.get("urls"):
        rows.append(("  URLs:", ", ".join(child["urls"])))
    return rows


def _aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Return names and values in two columns, one blank apart. Mirrors: buildx printers.go, by text/tabwriter."""
    from firkin.render.text import safe

    pairs = [(safe(name), safe(str(value))) for name, value in rows]
    width = max((len(name) for name, _ in pairs), default=0)
    return "".join(f"{name:<{width}} {value}\n" for name, value in pairs)


def _formatted(template: str, text: str, found: Attested) -> str:
    from firkin.templates.template import parse_template
    from firkin.templates.values import Record

    platforms = found.platforms()

    def of(read: Callable[[str], dict[str, Any]]) -> Callable[[], Any]:
        """Return a field that is read when it is asked for: of the one image, or of all by platform."""

        def value() -> Any:
            if len(platforms) > 1:
                return {platform: record for platform in platforms if (record := _record(read(platform)))}
            return _record(read(platforms[0])) if platforms else Record()

        return value

    image = of(lambda platform: _named(found.config(platform)))
    data = Record(name=text, manifest=_record(found.manifest()), SBOM=of(found.sbom), provenance=of(found.provenance))
    # What is a function is read when it is asked for, and is not part of the whole's JSON; the image is.
    data["image"] = image() if "json .}" in template.replace(" ", "").replace("json.", "json .") else image
    return parse_template(template).execute(data, indent=_INDENT)


def _named(config: dict[str, Any]) -> dict[str, Any]:
    """Give a configuration the names that Go has for its fields, where these are not just in another case."""
    rootfs = config.get("rootfs")
    if isinstance(rootfs, dict):
        config["rootfs"] = {**rootfs, "DiffIDs": lambda: rootfs.get("diff_ids") or []}
    return config


def _record(value: Any) -> Any:
    """Return JSON with every object a Record, so that names are found in any case."""
    from firkin.templates.values import Record

    if isinstance(value, dict):
        return Record((name, _record(item)) for name, item in value.items())
    return [_record(item) for item in value] if isinstance(value, (list, tuple)) else value

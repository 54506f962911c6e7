"""`firkin buildx ls`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Iterator

from firkin.about.builders import Builder, find_builder
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.render.rows import rows_text

USAGE = "[OPTIONS]"
ABOUT = "List the builders. There is one, firkin itself, which is always there; `default` is another name for it."
OPTIONS = (
    Option(("--format",), "format", "text", "print `table`, `json`, or a template for each row", "FORMAT"),
    Option(("--no-trunc",), "no_trunc", "flag", "print all platforms", takes_value=False),
    *COMMON,
)
_FIELDS = {
    "Name": "NAME/NODE",
    "DriverEndpoint": "DRIVER/ENDPOINT",
    "LastActivity": "LAST ACTIVITY",
    "Status": "STATUS",
    "Buildkit": "BUILDKIT",
    "Platforms": "PLATFORMS",
    "Error": "ERROR",
}
_TABLE = "{{.Name}}\t{{.DriverEndpoint}}\t{{.Status}}\t{{.Buildkit}}\t{{.Platforms}}"
_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
_SHOWN = 4  # platforms, unless all are wanted


def run(invocation: Invocation) -> int:
    """Print the builder, and its node below it. Raises TemplateError."""
    arguments = invocation.arguments
    format, builder = arguments.text("format"), find_builder()
    if format == "json":
        import msgspec

        write_out(msgspec.json.encode(_document(builder)).decode() + "\n")
        return 0
    plain = format != "" and not format.startswith("table")
    rows = _rows(builder, whole=arguments.flag("no_trunc"), plain=plain)
    write_out(rows_text(format, _FIELDS, list(rows), _TABLE))
    return 0


def _document(builder: Builder) -> dict[str, object]:
    node = {"Name": builder.name, "Endpoint": builder.endpoint, "Status": builder.status, "Version": builder.version,
            "Platforms": builder.platforms}  # fmt: skip
    return {"Name": builder.name, "Driver": builder.driver, "LastActivity": _NEVER, "Dynamic": False, "Nodes": [node]}


def _rows(builder: Builder, *, whole: bool, plain: bool) -> Iterator[dict[str, str]]:
    """Yield builder and node; `plain` leaves out the marks that only a table has."""
    empty, mark = dict.fromkeys(_FIELDS, ""), "" if plain else " \\_ "
    yield {
        **empty,
        "Name": builder.name + ("" if plain else "*"),
        "DriverEndpoint": builder.driver,
        "Status": builder.status if plain else "",
    }
    left = 0 if whole else max(0, len(builder.platforms) - _SHOWN)
    listed = builder.platforms[: len(builder.platforms) - left]
    yield {
        **empty,
        "Name": f"{mark}{builder.name}",
        "DriverEndpoint": f"{mark}{builder.endpoint}",
        "Status": builder.status,
        "Buildkit": f"firkin {builder.version}",
        "Platforms": ", ".join(listed) + (f", (+{left} more)" if left else ""),
    }

"""`firkin volume ls`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/formatter/volume.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.filters import parse_filters
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.containers.volume_list import FILTERS, list_volumes
from firkin.containers.volumes.make import LOCAL
from firkin.containers.volumes.shelf import Volume, Volumes
from firkin.render.rows import rows_text

USAGE = "[OPTIONS]"
ABOUT = "List the volumes."
OPTIONS = (
    Option(("--filter", "-f"), "filter", "many", "only volumes that fit: `dangling=true`, `driver=`, `label=`, `name=`",
           "KEY=VALUE"),
    Option(("--format",), "format", "text", "print `table`, `json`, or a template for each volume", "FORMAT"),
    Option(("--quiet", "-q"), "quiet", "flag", "print names only", takes_value=False),
    Option(("--cluster",), "", "refused", "there are no volumes of a cluster", takes_value=False),
    *COMMON,
)  # fmt: skip
FIELDS = {
    "Availability": "AVAILABILITY", "Driver": "DRIVER", "Group": "GROUP", "Labels": "LABELS", "Links": "LINKS",
    "Mountpoint": "MOUNTPOINT", "Name": "VOLUME NAME", "Scope": "SCOPE", "Size": "SIZE", "Status": "STATUS",
}  # fmt: skip
DEFAULT = "{{.Driver}}\t{{.Name}}"
RAW = "name: {{.Name}}\ndriver: {{.Driver}}\n"
_NONE = "N/A"


def run(invocation: Invocation) -> int:
    """Print a row for each volume. Raises UsageError."""
    arguments = invocation.arguments
    filters = parse_filters(arguments.many("filter"), FILTERS)
    engine = open_engine(invocation)
    shelf, listed = Volumes(engine), list_volumes(engine, filters.values)
    format = arguments.text("format")
    if arguments.flag("quiet") and not format:
        write_out("".join(f"{volume.name}\n" for volume in listed))
    else:
        write_out(rows_text(format, FIELDS, [_row(shelf, volume) for volume in listed], DEFAULT, RAW))
    return 0


def _row(shelf: Volumes, volume: Volume) -> dict[str, str]:
    labels = ",".join(f"{key}={value}" for key, value in sorted((volume.labels or {}).items()))
    return {
        "Availability": _NONE, "Driver": LOCAL, "Group": _NONE, "Labels": labels, "Links": _NONE,
        "Mountpoint": shelf.data(volume.name), "Name": volume.name, "Scope": LOCAL, "Size": _NONE, "Status": _NONE,
    }  # fmt: skip

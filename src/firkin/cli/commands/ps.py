"""`firkin ps`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/list.go."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping

from firkin.cli.arguments import OPTION, Arguments
from firkin.cli.command import Invocation
from firkin.cli.docker_config import read_docker_config
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_message, write_out
from firkin.containers.documents.lifecycle import status_of
from firkin.containers.documents.networks import endpoints
from firkin.containers.documents.record import MountPoint
from firkin.containers.documents.status import status_words
from firkin.containers.list import Listed, Sizes, Wanted, command_text, list_containers, shown_mounts, sizes_of
from firkin.errors import UsageError
from firkin.render.cells import shortened
from firkin.render.rows import Cell, label_header, rows_text
from firkin.render.units import ago, go_time, short_id, size3
from firkin.text import seconds_of
from firkin.tuples import NamedTuple

USAGE = "[OPTIONS]"
ABOUT = "List the containers that run, newest first; with `--all` those that were only created or have ended, too."
OPTIONS = (
    Option(("--all", "-a"), "all", "flag", "show all containers, not only those that run", takes_value=False),
    Option(("--filter", "-f"), "filter", "many",
           "show those that fit: ancestor=, before=, exited=, expose=, health=, id=, label=, name=, network=, "
           "publish=, since=, status=, volume=", "KEY=VALUE"),
    Option(("--format",), "format", "text", "`table`, `table TEMPLATE`, `json`, `raw`, or a Go template", "FORMAT"),
    Option(("--last", "-n"), "last", "text", "show the N that were created last, whatever their state", "N"),
    Option(("--latest", "-l"), "latest", "flag", "show the one that was created last", takes_value=False),
    Option(("--no-trunc",), "no_trunc", "flag", "cut nothing short", takes_value=False),
    Option(("--quiet", "-q"), "quiet", "flag", "print ids only", takes_value=False),
    Option(("--size", "-s"), "size", "flag", "show what their files take", takes_value=False),
    *COMMON,
)  # fmt: skip

_FIELDS: dict[str, Cell] = {
    "ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
    "Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS",
    "Platform": "PLATFORM", "Label": label_header,
}  # fmt: skip
_TABLE = "{{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}"
_RAW = (
    "container_id: {{.ID}}\\nimage: {{.Image}}\\ncommand: {{.Command}}\\ncreated_at: {{.CreatedAt}}\\n"
    "state:{{pad .State 1 0}}\\nstatus:{{pad .Status 1 0}}\\nnames: {{.Names}}\\nlabels:{{pad .Labels 1 0}}\\n"
    "ports:{{pad .Ports 1 0}}\\n"
)
_QUIET = "{{.ID}}"
_COMMAND_CELLS, _MOUNT_CELLS = 20, 15


def run(invocation: Invocation) -> int:
    """Print rows. Raises UsageError, ContainerError, TemplateError."""
    arguments = invocation.arguments
    form = _format(invocation)
    wanted = _wanted(arguments)
    gc.disable()  # of a thousand containers nothing becomes garbage
    engine = open_engine(invocation)
    listed = list_containers(engine, wanted)
    sized = arguments.flag("size") or (not arguments.given("size") and form != "json" and _uses_size(form))
    sizes = sizes_of(engine, [one.entry.record for one in listed]) if sized and form != _QUIET else None
    look = Look(time.time(), arguments.flag("no_trunc"), sizes)
    write_out(rows_text(form, _FIELDS, [_row(one, look) for one in listed], _TABLE))
    return 0


class Look(NamedTuple):
    """How values are shown: whole, or cut to fit; `sizes` are by id, None if nobody asked."""

    now_s: float
    whole: bool
    sizes: Mapping[str, Sizes] | None


def _wanted(arguments: Arguments) -> Wanted:
    last = arguments.text("last", "-1")
    digits = last.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"option `--last` needs a number, not `{last}`", code=OPTION)
    limit = 1 if arguments.flag("latest") else max(-1, int(last))
    values: dict[str, tuple[str, ...]] = {}
    if arguments.given("filter"):
        from firkin.cli.filters import parse_filters
        from firkin.containers.documents.filter import KEYS

        values = dict(parse_filters(arguments.many("filter"), KEYS).values)
    return Wanted(arguments.flag("all"), max(0, limit), values)


def _format(invocation: Invocation) -> str:
    """Return the format with its template. Mirrors: docker/cli formatter NewContainerFormat."""
    arguments = invocation.arguments
    quiet, size = arguments.flag("quiet"), arguments.flag("size")
    given = arguments.text("format")
    form = given or ("" if quiet else read_docker_config(invocation.ambient).format("ps", ""))
    if form == "raw":
        return "container_id: {{.ID}}" if quiet else _RAW + ("size: {{.Size}}\\n" if size else "")
    if quiet:
        if given not in ("", "table"):
            write_message("warning: ignoring custom format, because both `--format` and `--quiet` are set\n")
        return _QUIET
    if form in ("", "table"):
        return f"table {_TABLE}" + ("\\t{{.Size}}" if size else "")
    return form


def _uses_size(form: str) -> bool:
    """Say whether a template shows sizes, which take time: by name, or as a part of everything."""
    return ".Size" in form or "{{json .}}" in form.replace(" ", "").replace("json.", "json .")


def _row(listed: Listed, look: Look) -> dict[str, Cell]:
    record, state = listed.entry
    created = seconds_of(record.created) or 0.0
    labels = record.config.labels or {}
    mounts = tuple(shown_mounts(record))
    return {
        "ID": record.id if look.whole else short_id(record.id),
        "Names": record.name,
        "Image": listed.image if look.whole else _short_image(listed.image, record.image),
        "Command": _quoted(command_text(record) if look.whole else shortened(command_text(record), _COMMAND_CELLS)),
        "CreatedAt": go_time(int(created)),
        "RunningFor": ago(max(0.0, look.now_s - int(created))),
        "Ports": "",
        "State": status_of(state),
        "Status": status_words(state, look.now_s),
        "Size": "0B" if look.sizes is None else _size_text(look.sizes[record.id]),
        "Labels": ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "Mounts": ",".join(_mount_text(mount, look.whole) for mount in mounts),
        "LocalVolumes": str(sum(mount.driver == "local" for mount in mounts)),
        "Networks": ",".join(endpoints(record)),
        "Platform": None,
        "Label": lambda name: labels.get(name, ""),
    }


def _short_image(shown: str, id: str) -> str:
    """Return an image's name without its digest, or the beginning of its id. Mirrors: ContainerContext.Image."""
    if not shown:
        return "<no image>"
    if short_id(shown) == short_id(id):
        return short_id(id)
    return shown.partition("@")[0]


def _mount_text(mount: MountPoint, whole: bool) -> str:
    name = mount.name or mount.source
    return name if whole else shortened(name, _MOUNT_CELLS)


def _size_text(sizes: Sizes) -> str:
    return f"{size3(sizes.rw)} (virtual {size3(sizes.root)})" if sizes.root > 0 else size3(sizes.rw)


def _quoted(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from firkin.templates.printf import quoted

    return quoted(text)

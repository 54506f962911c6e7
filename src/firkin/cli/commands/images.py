"""`firkin images`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.store import open_store, say
from firkin.errors import StoreError, UsageError
from firkin.images.list import Listed, list_images
from firkin.images.names import familiar, repository_and_tag

USAGE = "[OPTIONS] [NAME]"
ABOUT = (
    "List the images in the store, newest last; with NAME those whose repository or name it is. An image's size is "
    "what a registry holds for it: its layers as they are compressed, configuration and manifest."
)
OPTIONS = (
    Option(("--json",), "json", "flag", "print one JSON object a line", takes_value=False),
    Option(("--quiet", "-q"), "quiet", "flag", "print digests only", takes_value=False),
    Option(("--names",), "names", "flag", "print names only", takes_value=False),
    Option(("--no-trunc",), "no_trunc", "flag", "print whole digests", takes_value=False),
    Option(("--all", "-a"), "", "ignored", "images without a name are listed anyway", takes_value=False),
    Option(("--digests",), "", "ignored", "digests are listed anyway", takes_value=False),
    Option(("--format",), "", "refused", "`--json` prints one JSON object a line"),
    Option(("--filter", "-f"), "", "refused", "name the images: `firkin images NAME`; `--json` is easy to filter"),
    *COMMON,
)  # fmt: skip


class Row(NamedTuple):
    """One name of one image; "" for an image without one."""

    name: str
    found: Listed


def run(invocation: Invocation) -> int:
    """Print a line for each image and name. Raises UsageError."""
    arguments = invocation.arguments
    if len(arguments.operands) > 1:
        raise UsageError("`firkin images` takes one name")
    store, _ = open_store(invocation)
    with store:
        rows = _rows(list_images(store, _warn, sizes=False), arguments.operands)
    if arguments.flag("names"):
        write_out("".join(f"{familiar(row.name)}\n" for row in rows if row.name))
    elif arguments.flag("quiet"):
        write_out("".join(f"{digest}\n" for digest in dict.fromkeys(row.found.id for row in rows)))
    elif arguments.flag("json"):
        write_out("".join(msgspec.json.encode(_document(row)).decode() + "\n" for row in rows))
    else:
        write_out(_table(rows, whole=arguments.flag("no_trunc")))
    return 0


def _rows(images: tuple[Listed, ...], only: tuple[str, ...]) -> list[Row]:
    rows = [Row(name, found) for found in images for name in found.names or found.digests[:1] or ("",)]
    return [row for row in rows if not only or _is_wanted(row.name, only[0])]


def _is_wanted(name: str, text: str) -> bool:
    repository, tag = repository_and_tag(name)
    return text in (repository, f"{repository}:{tag}", name, name.rpartition(":")[0])


def _warn(digest: str, error: StoreError) -> None:
    say(f"warning: {digest}: {error.message} ({error.code})")


def _document(row: Row) -> dict[str, object]:
    found = row.found
    repository, tag = repository_and_tag(row.name)
    return {
        "repository": repository,
        "tag": tag,
        "id": found.id,
        "digest": found.root.digest,
        "created": found.created,
        "size_bytes": found.compressed_bytes,
        "platforms": found.platforms,
    }


def _table(rows: list[Row], *, whole: bool) -> str:
    from firkin.render.text import human_size

    cells = [("REPOSITORY", "TAG", "DIGEST", "CREATED", "COMPRESSED")]
    for name, found in rows:
        repository, tag = repository_and_tag(name)
        digest = found.root.digest if whole else found.root.digest.removeprefix("sha256:")[:12]
        created = found.created[:19].replace("T", " ")
        cells.append((repository, tag, digest, created, human_size(found.compressed_bytes)))
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    return "".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() + "\n" for row in cells)

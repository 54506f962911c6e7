"""`firkin images`. I; only `cli.run` may import it."""

from __future__ import annotations

import msgspec

from firkin.cli.options import COMMON, Option
from firkin.cli.run import Invocation, write_out
from firkin.cli.shelf import Found, describe, open_store, say
from firkin.errors import StoreError, UsageError
from firkin.oci.reference import parse_reference
from firkin.store.images import StoredImage

USAGE = "[OPTIONS] [NAME]"
ABOUT = "List the images in the store, newest last; with NAME those whose repository or name it is."
OPTIONS = (
    Option(("--json",), "json", "flag", "print one JSON object a line", takes_value=False),
    Option(("--quiet", "-q"), "quiet", "flag", "print digests only", takes_value=False),
    Option(("--no-trunc",), "no_trunc", "flag", "print whole digests", takes_value=False),
    Option(("--all", "-a"), "", "ignored", "images without a name are listed anyway", takes_value=False),
    Option(("--digests",), "", "ignored", "digests are listed anyway", takes_value=False),
    Option(("--format",), "", "refused", "`--json` prints one JSON object a line"),
    Option(("--filter", "-f"), "", "refused", "name the images: `firkin images NAME`; `--json` is easy to filter"),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Print a line for each image and name."""
    arguments = invocation.arguments
    store, _ = open_store(invocation)
    rows: list[tuple[str, str, Found]] = []
    with store:
        by_digest: dict[str, list[StoredImage]] = {}
        for entry in store.images.entries():
            by_digest.setdefault(entry.descriptor.digest, []).append(entry)
        for digest, entries in by_digest.items():
            try:
                found = describe(store, entries)
            except StoreError as error:
                say(f"warning: {digest}: {error.message} ({error.code})")
                continue
            rows += [(*_split(name), found) for name in found.names or ("",)]
    if arguments.operands:
        if len(arguments.operands) > 1:
            raise UsageError("`firkin images` takes one name")
        wanted = _familiar(arguments.operands[0])
        rows = [row for row in rows if wanted in (row[0], f"{row[0]}:{row[1]}")]
    if arguments.flag("quiet"):
        write_out("".join(f"{digest}\n" for digest in dict.fromkeys(row[2].root.digest for row in rows)))
    elif arguments.flag("json"):
        write_out("".join(msgspec.json.encode(_document(*row)).decode() + "\n" for row in rows))
    else:
        write_out(_table(rows, whole=arguments.flag("no_trunc")))
    return 0


def _familiar(text: str) -> str:
    """Return the short spelling of a repository or name, with a tag only if it has one."""
    try:
        reference = parse_reference(text)
    except ValueError:
        return text
    tagged = text.endswith(f":{reference.tag}")
    return reference.familiar if tagged else reference.familiar.removesuffix(f":{reference.tag}")


def _split(name: str) -> tuple[str, str]:
    if not name:
        return "<none>", "<none>"
    try:
        reference = parse_reference(name)
    except ValueError:
        return name, ""
    head = reference.familiar.partition("@")[0]
    return head.removesuffix(f":{reference.tag}") if reference.tag else head, reference.tag or "<none>"


def _document(repository: str, tag: str, found: Found) -> dict[str, object]:
    return {
        "repository": repository,
        "tag": tag,
        "digest": found.root.digest,
        "created": found.created,
        "size_bytes": found.size_bytes,
        "platforms": [str(image.config.platform) for image in found.images],
    }


def _table(rows: list[tuple[str, str, Found]], *, whole: bool) -> str:
    from firkin.render.text import human_size

    cells = [("REPOSITORY", "TAG", "DIGEST", "CREATED", "SIZE")]
    for repository, tag, found in rows:
        digest = found.root.digest if whole else found.root.digest.removeprefix("sha256:")[:12]
        cells.append((repository, tag, digest, found.created[:19].replace("T", " "), human_size(found.size_bytes)))
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    return "".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() + "\n" for row in cells)

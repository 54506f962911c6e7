"""`firkin buildx imagetools create`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import msgspec

from firkin.ambient import absolute
from firkin.cli.command import Invocation
from firkin.cli.manifests import with_registries
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.cli.store import say
from firkin.cli.values import key_value, split_list
from firkin.errors import UsageError
from firkin.images.combining import Combined, Source, combine, place_sources, push_combined, read_source
from firkin.images.names import read_tag
from firkin.images.progress import Transfer
from firkin.linux.files import write_beside
from firkin.linux.machine import this_platform
from firkin.oci.manifest import PairMap
from firkin.oci.platform import Platform, parse_platform
from firkin.oci.reference import Reference

USAGE = "[OPTIONS] [SOURCE...]"
ABOUT = (
    "Push an index of images that registries have. SOURCE is a name, a digest, or a descriptor in JSON; an index "
    "counts for all of its images. What lies in other repositories is mounted or copied. One index alone is copied as "
    "it is."
)
OPTIONS = (
    Option(("--tag", "-t"), "tag", "many", "push it under this name", "NAME[:TAG]"),
    Option(("--file", "-f"), "file", "many", "read a source from FILE", "FILE"),
    Option(("--append",), "append", "flag", "begin with what the first name points to now", takes_value=False),
    Option(("--annotation",), "annotation", "many",
           "add an annotation to the index, or (`manifest-descriptor:`) to each of its images", "[TYPE:]KEY=VALUE"),
    Option(("--dry-run",), "dry_run", "flag", "print the document instead of pushing it", takes_value=False),
    Option(("--metadata-file",), "metadata_file", "text", "write facts about what was pushed to FILE, as JSON", "FILE"),
    Option(("--platform", "-p"), "platform", "many", "keep images for this platform only", "OS/ARCH[/VARIANT]"),
    Option(("--prefer-index",), "prefer_index", "flag", "make an index of one image alone (default: on)",
           takes_value=False),
    Option(("--progress",), "progress", "choice", "how to say what is done", "auto|plain|tty|rawjson|quiet|none", (),
           ("auto", "plain", "tty", "rawjson", "quiet", "none")),
    Option(("--builder",), "", "ignored", "there is one builder, firkin itself; every name means it"),
    *REGISTRY,
    *COMMON,
)  # fmt: skip
_MOST_BYTES = 4 << 20


def run(invocation: Invocation) -> int:
    """Combine the sources, push the result. Raises UsageError, RegistryError."""
    arguments = invocation.arguments
    targets = tuple(map(read_tag, arguments.many("tag")))
    sources = [read_source(text) for text in (*_files(invocation), *arguments.operands)]
    if not sources:
        raise UsageError("no sources specified")
    if not targets and not arguments.flag("dry_run"):
        raise UsageError("can't push with no tags specified, please set --tag or --dry-run")
    if arguments.flag("append") and targets:
        sources.insert(0, Source(str(targets[0]), targets[0]))
    placed = place_sources(sources, targets)
    of_index, of_children = _annotations(arguments.many("annotation"))
    platforms = _platforms(arguments.many("platform"))
    quiet = arguments.text("progress") in ("quiet", "none", "rawjson")

    def work(transfer: Transfer) -> int:
        combined = combine(
            transfer, placed, annotations=of_index, of_children=of_children, platforms=platforms,
            prefer_index=not arguments.given("prefer_index") or arguments.flag("prefer_index"),
        )  # fmt: skip
        if arguments.flag("dry_run"):
            write_out(f"{combined.raw.decode()}\n")
            return 0
        each(targets, lambda target: _push(transfer, combined, target, quiet))
        _write_metadata(invocation, combined, targets)
        return 0

    return with_registries(invocation, targets, work)


def _push(transfer: Transfer, combined: Combined, target: Reference, quiet: bool) -> None:
    push_combined(transfer, combined, target, (lambda text: None) if quiet else say)


def _files(invocation: Invocation) -> list[str]:
    texts = []
    for path in invocation.arguments.many("file"):
        try:
            with open(absolute(invocation.ambient.cwd, path), "rb") as file:
                texts.append(file.read(_MOST_BYTES).decode("utf-8", "surrogateescape").strip())
        except OSError as error:
            raise UsageError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    return texts


def _annotations(texts: tuple[str, ...]) -> tuple[PairMap, PairMap]:
    """Return the annotations of the index, and those of each entry."""
    of_index, of_children = [], []
    for text in texts:
        key, value = key_value("--annotation", text)
        kind, colon, rest = key.partition(":")
        if kind in ("manifest", "index-descriptor") and colon:
            raise UsageError(f"option `--annotation`: \"{kind}\" annotations are not supported")
        if kind == "manifest-descriptor" and colon:
            of_children.append((rest, value))
        else:
            of_index.append((rest if kind == "index" and colon else key, value))
    return tuple(of_index), tuple(of_children)


def _platforms(texts: tuple[str, ...]) -> tuple[Platform, ...]:
    try:
        return tuple(parse_platform(text, this_platform()) for text in split_list(texts))
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None


def _write_metadata(invocation: Invocation, combined: Combined, targets: tuple[Reference, ...]) -> None:
    path = invocation.arguments.text("metadata_file")
    if not path:
        return
    descriptor = combined.descriptor
    document = {
        "containerimage.descriptor": {
            "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size,
        },
        "containerimage.digest": descriptor.digest,
        "image.name": ",".join(map(str, targets)),
    }  # fmt: skip
    raw = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    try:
        write_beside(absolute(invocation.ambient.cwd, path), raw)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {(error.strerror or '').lower()}") from error



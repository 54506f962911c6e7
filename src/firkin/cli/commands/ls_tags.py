"""`firkin ls-tags`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import re

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.sides import Sides, open_sides
from firkin.cli.store import with_interrupts
from firkin.errors import UsageError
from firkin.images.copy.places import Place, parse_place
from firkin.oci.reference import Reference, parse_reference
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] REPOSITORY"
ABOUT = (
    "List the tags of a repository in a registry, one a line, in the registry's order; or the names of the images in "
    "`docker-archive:PATH`."
)
OPTIONS = (
    Option(("--full-ref",), "full_ref", "flag", "print names with their repository"),
    Option(("--omit-digest-tags", "-O"), "omit_digest_tags", "flag", "leave out tags that stand for a digest "
           "(`sha256-...`), as those of signatures"),
    Option(("--json",), "json", "flag", "print one JSON object with `Repository` and `Tags`"),
    *REGISTRY,
    *COMMON,
)  # fmt: skip
_DIGEST_TAG = re.compile(r"sha256-[0-9a-f]{64}(\..*)?")


def run(invocation: Invocation) -> int:
    """Print the tags. Raises UsageError."""
    arguments = invocation.arguments
    if len(arguments.operands) != 1:
        raise UsageError("`firkin ls-tags` needs one repository")
    place = parse_place(arguments.operands[0])
    reference = _repository(place, arguments.operands[0])

    def work(cancel: Cancel) -> int:
        with open_sides(invocation, cancel) as sides:
            tags = _tags(sides, place)
        if arguments.flag("omit_digest_tags"):
            tags = tuple(tag for tag in tags if not _DIGEST_TAG.fullmatch(tag))
        if arguments.flag("json"):
            import json

            document = {"Repository": reference.name, "Tags": tags} if reference else {"Tags": tags}
            write_out(json.dumps(document, indent=4, ensure_ascii=False) + "\n")
            return 0
        start = f"{reference.name}:" if reference and arguments.flag("full_ref") else ""
        write_out("".join(f"{start}{tag}\n" for tag in tags))
        return 0

    return with_interrupts(work)


def _repository(place: Place, text: str) -> Reference | None:
    if place.transport == "docker-archive":
        return None
    if place.transport != "docker":
        raise UsageError(f"`{text}` is no repository", hints=("name one in a registry, or `docker-archive:PATH`",))
    reference = parse_reference(place.name, default_tag="")
    if reference.digest or reference.tag:
        raise UsageError(f"`{text}` has a tag or a digest; a repository has neither")
    return reference


def _tags(sides: Sides, place: Place) -> tuple[str, ...]:
    if place.transport == "docker":
        return sides.client(place).list_tags(place.reference, mirrors=True)
    from firkin.images.copy.docker_archive_end import DockerArchiveSource, tags_of

    with sides.opener(place).source(place) as source:
        assert isinstance(source, DockerArchiveSource)
        return tags_of(source.listed())

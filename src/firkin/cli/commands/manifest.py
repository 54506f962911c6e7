"""`firkin manifest`: joins images of several platforms under one name. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.store import open_client, with_interrupts
from firkin.errors import UsageError
from firkin.images.index import check_sources, push_index
from firkin.images.names import read_reference
from firkin.tasks.cancel import Cancel

USAGE = "create [OPTIONS] NAME[:TAG] IMAGE..."
ABOUT = (
    "Push an index that lists images of one repository, one for each platform, as jobs of several machines have "
    "pushed them. IMAGE is a tag or digest; an index counts for all of its images. Prints what it can be pulled by."
)
OPTIONS = (*REGISTRY, *COMMON)


def run(invocation: Invocation) -> int:
    """Look the images up, push the index. Raises UsageError."""
    operands = invocation.arguments.operands
    if operands and operands[0] != "create":
        raise UsageError(
            f"`firkin manifest` cannot `{operands[0]}`",
            hints=("it can only `create`, which pushes as well; `skopeo inspect --raw` shows an index",),
        )
    if len(operands) < 3:
        raise UsageError("`firkin manifest create` needs a name and at least one image",
                         hints=("firkin manifest create reg/app:1 reg/app:1-amd64 reg/app:1-arm64",))  # fmt: skip
    target, *sources = map(read_reference, operands[1:])
    check_sources(target, sources)
    settings = settings_of(invocation.arguments, invocation.ambient)

    def work(cancel: Cancel) -> int:
        with open_client(settings, cancel) as client:
            digest = push_index(client, target, sources)
        write_out(f"{target.name}:{target.tag}@{digest}\n")
        return 0

    return with_interrupts(work)

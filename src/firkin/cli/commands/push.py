"""`firkin push`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.moving import Moving, progress_name
from firkin.cli.options import COMMON, PROGRESS, REGISTRY
from firkin.cli.run import write_out
from firkin.cli.store import find_image, open_client, open_store, with_interrupts
from firkin.errors import UsageError
from firkin.images.names import read_tag
from firkin.images.progress import Transfer
from firkin.images.push import push_image, targets_of
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] IMAGE [NAME[:TAG]...]"
ABOUT = (
    "Push an image of the store to a registry: under its own name, or under the given names. "
    "Prints what it can be pulled by."
)
OPTIONS = (
    *PROGRESS,
    *REGISTRY,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Push blobs, manifests, then the tag, for each name. Raises UsageError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin push` needs an image")
    source, *names = arguments.operands
    references = tuple(map(read_tag, names))
    store, settings = open_store(invocation)

    def work(cancel: Cancel) -> int:
        with store:
            found = find_image(store, source)
            targets = targets_of(found, source, references)
            pushed = []
            name = progress_name(arguments, settings, invocation.ambient.environ)
            with Moving(name, "Pushing") as moving, open_client(settings, cancel, moving.warn) as client:
                transfer = Transfer(store, client, cancel, settings.registry.parallel, moving.wait)
                for target in targets:
                    with moving.line(f"push {target}", f"pushing {target}") as line:
                        line.detail = push_image(transfer, found, target, line)
                    pushed.append(f"{target.name}:{target.tag}@{line.detail}\n")
        if not moving.as_json:
            write_out("".join(pushed))
        return 0

    return with_interrupts(work)

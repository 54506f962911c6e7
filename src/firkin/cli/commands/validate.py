"""`firkin validate`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Sequence

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.sides import Sides, open_sides, platforms_of
from firkin.cli.store import with_interrupts
from firkin.errors import Cancelled, FirkinError, UsageError
from firkin.images.copy.places import Place, parse_place
from firkin.images.copy.plan import Selection
from firkin.images.copy.several import Several
from firkin.images.validate import validate_image
from firkin.linux.machine import this_platform
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Task

USAGE = "[OPTIONS] IMAGE..."
ABOUT = (
    "Check that images are what their manifests say: digests and sizes of all blobs, diff ids of layers, numbers of "
    "layers, for every platform. IMAGE is a name in a registry, or another place that `firkin copy` reads."
)
OPTIONS = (
    Option(("--fast",), "fast", "flag", "only look whether layers are there, do not read them"),
    Option(("--platform",), "platform", "many", "check the image for this platform only", "OS/ARCH[/VARIANT]"),
    Option(("--remote",), "remote", "many", "an image in a registry, as IMAGE", "NAME"),
    Option(("--tarball",), "tarball", "many", "the image in this docker archive", "PATH"),
    *REGISTRY,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Print PASS or FAIL for each image; 1 if any fails. Raises UsageError."""
    arguments = invocation.arguments
    tarballs = tuple(Place("docker-archive", path) for path in arguments.many("tarball"))
    places = (*map(parse_place, (*arguments.operands, *arguments.many("remote"))), *tarballs)
    if not places:
        raise UsageError("`firkin validate` needs an image")
    selection = Selection(this_platform(), platforms=platforms_of(arguments))

    def work(cancel: Cancel) -> int:
        failed = False
        with open_sides(invocation, cancel) as sides:
            several = Several(sides.settings.registry.parallel, cancel, _wait)
            for place in places:
                problems = _problems(sides, place, selection, several, fast=arguments.flag("fast"))
                name = place.path if place in tarballs else str(place)
                write_out("".join(f"FAIL: {name}: {problem}\n" for problem in problems) or f"PASS: {name}\n")
                failed = failed or bool(problems)
        return int(failed)

    return with_interrupts(work)


def _problems(
    sides: Sides, place: Place, selection: Selection, several: Several, *, fast: bool
) -> tuple[str, ...]:
    try:
        with sides.opener(place).source(place) as source:
            return validate_image(source, selection, several, fast=fast).problems
    except Cancelled:
        raise
    except FirkinError as error:
        return (error.message,)


def _wait(tasks: Sequence[Task[None]]) -> None:
    for task in tasks:
        task.result()

"""`firkin digest`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.sides import PLATFORM, Sides, open_sides, platforms_of
from firkin.cli.store import with_interrupts
from firkin.errors import UsageError
from firkin.images.copy.places import Place, parse_place
from firkin.images.copy.plan import choose_image
from firkin.oci.digest import Digest
from firkin.oci.platform import Platform
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] IMAGE..."
ABOUT = (
    "Print the digest that a name means: of the index, of an image for several platforms. IMAGE is a name in a "
    "registry, or another place that `firkin copy` reads (`oci:DIR`, `docker-archive:PATH`, `store:NAME`, ...)."
)
OPTIONS = (
    Option(("--full-ref",), "full_ref", "flag", "print the name with the digest"),
    PLATFORM,
    Option(("--tarball",), "tarball", "many", "the image in this docker archive", "PATH"),
    *REGISTRY,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Print a line for each image. Raises UsageError."""
    arguments = invocation.arguments
    places = [*map(parse_place, arguments.operands),
              *(Place("docker-archive", path) for path in arguments.many("tarball"))]  # fmt: skip
    if not places:
        raise UsageError("`firkin digest` needs an image")
    platforms = platforms_of(arguments)
    if len(platforms) > 1:
        raise UsageError("`--platform` takes one platform here")
    full = arguments.flag("full_ref")

    def work(cancel: Cancel) -> int:
        with open_sides(invocation, cancel) as sides:
            for place in places:
                digest = _digest(sides, place, platforms)
                write_out(f"{_full(place)}@{digest}\n" if full else f"{digest}\n")
        return 0

    return with_interrupts(work)


def _digest(sides: Sides, place: Place, platforms: tuple[Platform, ...]) -> Digest:
    if place.transport == "docker" and not platforms:
        return sides.client(place).resolve(place.reference).digest
    with sides.opener(place).source(place) as source:
        root = source.root()
        return choose_image(source, root, platforms[0]).digest if platforms else root.digest


def _full(place: Place) -> str:
    return place.reference.name if place.transport == "docker" else str(place)

"""`firkin delete`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Sequence

from firkin.cli.asking import confirmed
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.sides import open_sides
from firkin.cli.store import with_interrupts
from firkin.errors import Cancelled, FirkinError, UsageError
from firkin.images.copy.places import Place, parse_place
from firkin.images.copy.several import Several
from firkin.images.delete import Deleted, delete_name
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Task

USAGE = "[OPTIONS] NAME[:TAG|@DIGEST]..."
ABOUT = (
    "Delete names in registries. A tag goes alone where the registry can do that. Where it can only delete a manifest, "
    "every tag of it goes as well: they are listed, and nothing is deleted unless you agree. `firkin rmi` removes "
    "images of the store."
)
OPTIONS = (
    Option(("--force", "-f"), "force", "flag", "do not ask when other tags go as well"),
    *REGISTRY,
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Delete each name; print what is gone. Raises UsageError, and the first failure when all were tried."""
    arguments = invocation.arguments
    places = tuple(map(parse_place, arguments.operands))
    if not places:
        raise UsageError("`firkin delete` needs a name in a registry")
    for place in places:
        if place.transport != "docker":
            raise UsageError(f"`{place}` is no name in a registry", hints=("`firkin rmi` removes images of the store",))

    def work(cancel: Cancel) -> int:
        failures: list[FirkinError] = []
        with open_sides(invocation, cancel) as sides:
            several = Several(sides.settings.registry.parallel, cancel, _wait)
            for place in places:
                try:
                    gone = delete_name(
                        sides.client(place), place.reference, several,
                        lambda tags, place=place: arguments.flag("force") or _agreed(place, tags),  # type: ignore[misc]
                    )  # fmt: skip
                except Cancelled:
                    raise
                except FirkinError as error:
                    failures.append(error)
                else:
                    _tell(place, gone)
        if failures:
            first, *others = failures
            first.message = "\n".join((first.message, *(f"error: {error.message}" for error in others)))
            raise first
        return 0

    return with_interrupts(work)


def _agreed(place: Place, tags: tuple[str, ...]) -> bool:
    return confirmed(f"WARNING! This will delete the manifest of {place}, and with it these tags: {', '.join(tags)}")


def _tell(place: Place, gone: Deleted | None) -> None:
    if gone is None:
        return
    name = place.reference.name
    write_out("".join(f"Untagged: {name}:{tag}\n" for tag in gone.tags))
    if gone.manifest:
        write_out(f"Deleted: {name}@{gone.digest}\n")


def _wait(tasks: Sequence[Task[None]]) -> None:
    for task in tasks:
        task.result()

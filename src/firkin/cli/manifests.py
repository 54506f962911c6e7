"""What the commands `firkin manifest …` share. Does I/O. `cli.commands` only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.options import Option
from firkin.cli.store import open_store, warn_plainly, with_interrupts
from firkin.errors import UsageError
from firkin.images.names import read_reference
from firkin.images.progress import Transfer
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Task

INSECURE = Option(("--insecure",), "insecure", "flag", "speak plain HTTP with the registries of these names",
                  takes_value=False)  # fmt: skip


def named(invocation: Invocation, command: str, least: int, most: int = 1 << 30) -> tuple[Reference, ...]:
    """Return the operands as names. Raises UsageError for too few or too many."""
    operands = invocation.arguments.operands
    if not least <= len(operands) <= most:
        wanted = f"{least} or more" if most > 2 else str(least) if least == most else f"{least} or {most}"
        raise UsageError(f"`firkin manifest {command}` takes {wanted} names, not {len(operands)}")
    return tuple(map(read_reference, operands))


def with_registries(
    invocation: Invocation, names: Iterable[Reference], work: Callable[[Transfer], int]
) -> int:
    """Run work with the store and a client, which speaks plain HTTP with the names' registries if `--insecure` says."""
    store, settings = open_store(invocation)
    registry = settings.registry
    if invocation.arguments.flag("insecure"):
        hosts = tuple(dict.fromkeys(name.registry for name in names))
        registry = msgspec.structs.replace(registry, insecure=(*registry.insecure, *hosts))

    def run(cancel: Cancel) -> int:
        with store, RegistryClient(registry, cancelled=cancel, warn=warn_plainly) as client:
            return work(Transfer(store, client, cancel, registry.parallel, _wait))

    return with_interrupts(run)


def _wait(tasks: Sequence[Task[None]]) -> None:
    for task in tasks:
        task.result()

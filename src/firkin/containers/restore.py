"""Start what restart policies ask for, after the machine or the monitors went down. Does I/O.

    for restored in restore(engine): ...

docs/service.md says who calls it. Mirrors: moby daemon.restore.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from firkin.containers.documents.lifecycle import restored
from firkin.containers.documents.record import Record
from firkin.containers.home.engine import Engine
from firkin.containers.home.home import Entry
from firkin.errors import FirkinError

_JOINED = "container:"


class Restored(NamedTuple):
    """A container that was started, or the error that it met."""

    record: Record
    error: FirkinError | None = None


def restore(engine: Engine) -> Iterator[Restored]:
    """Start one container after the other, those first whose namespaces others join; what fails holds nobody up.

    Those that were to be removed when they end, and died with the machine, are removed.
    """
    from firkin.containers.start import start

    entries = engine.home.entries()  # mended: what a death left is put in order
    wanted = [entry.record for entry in entries if not entry.state.running and _wanted(entry)]
    for record in in_order(wanted):
        try:
            start(engine, record.id, by_policy=True)
        except FirkinError as error:
            yield Restored(record, error)
        else:
            yield Restored(record)


def _wanted(entry: Entry) -> bool:
    policy = entry.record.host_config.restart_policy
    return restored(policy.name, policy.maximum_retry_count, entry.state)


def in_order(records: Sequence[Record]) -> list[Record]:
    """Return the records with each behind those whose namespaces it joins, else as they were made. Pure.

    Names that join one another in a circle cannot start anyway, and stay as they are.
    """
    by_age = sorted(records, key=lambda record: record.created)
    named = {name: record for record in by_age for name in (record.name, record.id)}
    ordered: dict[str, Record] = {}
    under_way: set[str] = set()

    def put(record: Record) -> None:
        if record.id in ordered or record.id in under_way:
            return
        under_way.add(record.id)
        for name in joined_by(record):
            if name in named:
                put(named[name])
        ordered[record.id] = record

    for record in by_age:
        put(record)
    return list(ordered.values())


def joined_by(record: Record) -> list[str]:
    """Return the containers, as the record calls them, whose namespaces a container joins. Pure."""
    host = record.host_config
    modes = (host.network_mode, host.pid_mode, host.ipc_mode)
    return [mode.removeprefix(_JOINED) for mode in modes if mode.startswith(_JOINED)]

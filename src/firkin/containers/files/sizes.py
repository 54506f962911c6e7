"""How many bytes containers and volumes have. Does I/O. Takes no lock: a size is what it was when it was counted.

Mirrors: moby daemon/graphdriver DiffSize and pkg/directory: bytes of files, each once, however many names it has.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable

import msgspec

from firkin.containers.documents.record import Record
from firkin.containers.home.engine import Engine
from firkin.decode import decode_json
from firkin.linux.folders import iter_statuses


def directory_sizes(engine: Engine, paths: Iterable[str]) -> dict[str, int]:
    """Return the bytes of files in directories, by path; 0 for one that is not there. Raises HostError.

    Where some files may have ids of others, in the namespaces that own them.
    """
    wanted = list(paths)
    if not wanted:
        return {}
    if engine.backend().enter.maps is None:
        return {path: _size(path) for path in wanted}
    from firkin.containers.home.namespaces import within

    said = within(engine.backend(), lambda: msgspec.json.encode([_size(path) for path in wanted]).decode())
    return dict(zip(wanted, decode_json(said, list[int]), strict=True))


def written_bytes(engine: Engine, ids: Iterable[str]) -> dict[str, int]:
    """Return by id the bytes of what containers wrote to their own layer: inspect's SizeRw. Raises HostError."""
    places = {id: f"{engine.home.directory(id)}/upper" for id in ids}
    found = directory_sizes(engine, places.values())
    return {id: found[place] for id, place in places.items()}


def root_bytes(engine: Engine, records: Iterable[Record]) -> dict[str, int]:
    """Return by id the bytes of containers with their image: inspect's SizeRootFs. Raises HostError."""
    listed = list(records)
    trees = {tree: f"{engine.root}/trees/{tree}/fs" for record in listed for tree in record.trees}
    below = directory_sizes(engine, trees.values())
    own = written_bytes(engine, [record.id for record in listed])
    return {record.id: own[record.id] + sum(below[trees[tree]] for tree in record.trees) for record in listed}


def _size(path: str) -> int:
    total = 0
    seen: set[tuple[int, int]] = set()
    try:
        for status in iter_statuses(path):
            if stat.S_ISDIR(status.st_mode):
                continue
            if status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    except FileNotFoundError:
        return total  # it was removed meanwhile
    return total

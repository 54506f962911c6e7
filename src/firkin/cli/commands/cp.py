"""`firkin cp`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from firkin.ambient import absolute
from firkin.cli.archives import chunks_of
from firkin.cli.command import Invocation
from firkin.cli.copying import (
    End,
    Thing,
    landing,
    local_dest,
    local_source,
    local_tar,
    split_end,
    unpack_locally,
)
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.store import say, warn_plainly, with_interrupts
from firkin.errors import ContainerError, UsageError
from firkin.tasks.cancel import Cancel

if TYPE_CHECKING:
    from firkin.containers.documents.record import Record
    from firkin.containers.home.engine import Engine

USAGE = "[OPTIONS] CONTAINER:PATH DEST|-    firkin cp [OPTIONS] SOURCE|- CONTAINER:PATH"
ABOUT = (
    "Copy files between a container, running or not, and this machine. `-` is a tar on standard output or input. "
    "`DIR/.` means what is in a directory."
)
OPTIONS = (
    Option(("--archive", "-a"), "archive", "flag", "keep owners (to this machine: as root only); files that go to a "
           "container whose USER is set get that owner", takes_value=False),
    Option(("--follow-link", "-L"), "follow", "flag", "if the source is a link, copy what it leads to",
           takes_value=False),
    Option(("--quiet", "-q"), "quiet", "flag", "do not say what was copied (as where no terminal is)",
           takes_value=False),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Copy one file or directory. Raises UsageError, ContainerError."""
    arguments, ambient = invocation
    if len(arguments.operands) != 2:
        raise UsageError("`firkin cp` needs a source and a destination")
    source, dest = (split_end(text) for text in arguments.operands)
    if source.container and dest.container:
        raise UsageError("copying between containers is not supported")
    if not source.container and not dest.container:
        raise UsageError("must specify at least one container source")
    engine = open_engine(invocation)
    follow, archive = arguments.flag("follow"), arguments.flag("archive")

    def work(cancel: Cancel) -> int:
        if source.container:
            size = _from(engine, source, _local(ambient.cwd, dest.path), cancel, follow=follow, archive=archive)
            shown = dest.path
        else:
            size = _to(engine, _local(ambient.cwd, source.path), dest, cancel, follow=follow, archive=archive)
            shown = f"{dest.container}:{dest.path}"
        if dest.path != "-" and os.isatty(1) and not arguments.flag("quiet"):
            from firkin.render.units import size3

            say(f"Successfully copied {size3(size)} to {shown}")
        return 0

    return with_interrupts(work)


def _local(cwd: str, path: str) -> str:
    if path == "-":
        return path
    kept = "/." if path.endswith("/.") or path == "." else "/" if path.endswith("/") else ""
    return absolute(cwd, path).rstrip("/") + kept or "/"


def _from(engine: Engine, source: End, dest: str, cancel: Cancel, *, follow: bool, archive: bool) -> int:
    from firkin.containers.archive import get_archive, last_name, path_stat

    record = engine.home.find(source.container)
    path = name = source.path
    target = None if dest == "-" else local_dest(dest)
    if follow:
        found = path_stat(engine, record, path)
        path = found.link_target if found.is_link else path
    with get_archive(engine, record, path) as (found, chunks):
        counted = _Counted(chunks, cancel)
        if target is None:
            from firkin.cli.exploring import Output

            out = Output(cancel)
            for chunk in counted:
                out.write(chunk)
            return counted.size
        contents = name in (".", "", "/") or name.endswith("/.")
        thing = Thing(path, True, found.is_folder, "" if contents else last_name(os.path.normpath(name)), contents)
        directory, name = landing(thing, target)
        own = archive and os.geteuid() == 0
        done = unpack_locally(iter(counted), found.name, directory, name, chown=own)
    for skipped, why in done.skipped:
        warn_plainly("not-copied", f"`{skipped}`: {why}")
    return counted.size


def _to(engine: Engine, source: str, dest: End, cancel: Cancel, *, follow: bool, archive: bool) -> int:
    from firkin.containers.archive import put_archive

    record = engine.home.find(dest.container)
    target = _container_dest(engine, record, dest.path)
    if source == "-":
        if not target.is_folder:
            raise UsageError(f'destination "{dest.container}:{dest.path}" must be a directory', code="destination")
        counted = _Counted(chunks_of(0, cancel), cancel)
        put_archive(engine, record, target.path, counted, no_overwrite=True, to_user=archive)
        return counted.size
    thing = local_source(source, follow=follow)
    directory, name = landing(thing, target)
    counted = _Counted(local_tar(thing, name), cancel)
    put_archive(engine, record, directory, counted, no_overwrite=True, to_user=archive)
    return counted.size


def _container_dest(engine: Engine, record: Record, path: str) -> Thing:
    """Return what is at a path of the container, a link followed; errors other than its absence come later."""
    from firkin.containers.archive import path_stat

    try:
        found = path_stat(engine, record, path)
        if found.is_link:
            path = found.link_target
            found = path_stat(engine, record, path)
    except ContainerError:
        return Thing(path, False, False)
    if not (found.is_folder or found.is_file):
        raise UsageError(
            f'destination "{record.name.removeprefix("/")}:{path}" must be a directory or a regular file',
            code="destination",
        )
    return Thing(path, True, found.is_folder)


class _Counted:
    """Bytes that pass, counted."""

    def __init__(self, chunks: Iterable[bytes], cancel: Cancel) -> None:
        self._chunks = chunks
        self._cancel = cancel
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._cancel.check()
            self.size += len(chunk)
            yield chunk

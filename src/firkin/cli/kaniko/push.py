"""`executor push TAR|LAYOUT`: pushes an image from a file (`images/archive_reader.py`). Does I/O."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import BinaryIO

import msgspec

from firkin.ambient import Ambient, absolute
from firkin.cli.kaniko.parse import Values
from firkin.cli.kaniko.request import destination_of, executor_registry, executor_root
from firkin.errors import Cancelled, ContextError, UsageError
from firkin.images.archive_reader import Files, open_files, read_image
from firkin.images.push import Content
from firkin.images.push_job import Push, PushJob
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.render.logs import LogRenderer
from firkin.tasks.pools import Pools


def push(flags: Values, ambient: Ambient, log: LogRenderer) -> int:
    """Push the image of an artefact to every destination, in order. Raises ContextError and UsageError."""
    if len(flags.words) != 1:
        raise UsageError("`executor push` takes one tar or OCI layout", hints=("executor push image.tar -d NAME",))
    names = tuple(destination_of(text) for text in flags.many("destination"))
    if not names:
        raise UsageError("you must provide --destination")
    with ExitStack() as stack:
        path = absolute(ambient.cwd, flags.words[0])
        files = open_files(path, lambda: _scratch(stack, executor_root(flags, ambient)))
        stack.callback(files.close)
        _push(flags, ambient, log, names, files)
    return 0


def _scratch(stack: ExitStack, root: str) -> str:
    """Return the scratch space of the executor's store, for as long as the stack is open."""
    from firkin.store.store import Store

    return stack.enter_context(Store(root, time.time)).layout.scratch


def _push(flags: Values, ambient: Ambient, log: LogRenderer, names: tuple[Reference, ...], files: Files) -> None:
    try:
        image, places = read_image(files)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ContextError(f"{flags.words[0]}: {error}", code="push-source") from error
    settings = executor_registry(flags, ambient)
    pools = Pools(steps=1, transfers=settings.parallel, cpu=1)
    try:
        with RegistryClient(settings) as client:
            if not flags.flag("skip-push-permission-check"):
                for name in {name.name: name for name in names}.values():
                    client.check_push(name)
            job = PushJob(Content((image,)), names, ignore_immutable=settings.ignore_immutable_tags)
            work = Push(job, client, pools.transfers, _Layers(files, places), log.event)
            client.repeat(settings.push_retries, work.run)
    finally:
        pools.close(Cancelled("the push has ended"))


class _Layers:
    """The layers of the artefact, as the source of a push."""

    def __init__(self, files: Files, places: dict[Digest, str]) -> None:
        self._files = files
        self._places = places

    def open(self, descriptor: Descriptor) -> BinaryIO:
        file = self._files.open(self._places[descriptor.digest])
        if file is None:
            raise ContextError(f"blob {descriptor.digest} is missing", code="push-source")
        return file

    def origin(self, digest: Digest) -> Reference | None:
        return None

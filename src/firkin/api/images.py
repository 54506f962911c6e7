"""The Python API for images of the store: list, tag, pull, push. Does I/O. Loaded on first use.

Names, ids and digests mean the same as on the command line (`images/find.py`). Nothing is kept between calls. Each
call works in the caller's thread and process; any number of threads may call at the same time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TypeVar

import msgspec

from firkin.api import keywords
from firkin.api.builds import StopSign, read_surroundings
from firkin.api.hints import API, in_own_words
from firkin.api.keywords import optional
from firkin.errors import Cancelled, UsageError
from firkin.events import Event, Progress, Warned, in_words
from firkin.images import list as listing
from firkin.images.compressing import to_push
from firkin.images.find import Found, find_image
from firkin.images.names import read_reference, read_tag
from firkin.images.progress import Transfer
from firkin.images.pull import look_up, pull_image
from firkin.images.push import push_image, targets_of
from firkin.images.tag import tag_image
from firkin.linux.machine import this_platform
from firkin.oci.descriptor import Descriptor
from firkin.oci.platform import parse_platform
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.settings import Settings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools, Task

_POLL_S = 0.1
_SIGTERM = 15
T = TypeVar("T")


class StoredImage(msgspec.Struct, frozen=True):
    """An image of the store. If it has several platforms, `digest` is that of their index.

    `config_digest` is the image id; of several platforms it is that of this machine's (or of the first that is there).
    `created` is a time of RFC 3339, or ""; `size_bytes` counts each compressed layer once.
    """

    names: tuple[str, ...]
    digest: str
    config_digest: str
    created: str
    size_bytes: int
    platforms: tuple[str, ...]


@in_own_words
def list_images(*, root: str | os.PathLike[str] | None = None) -> tuple[StoredImage, ...]:
    """Return the images of the store, the newest last; damaged ones are left out.

    `root` is the place of the store. Raises StoreError.
    """
    with _store(read_surroundings(root, None)[1]) as store:
        return tuple(map(_listed, listing.list_images(store, lambda digest, error: None, sizes=False)))


@in_own_words
def tag(image: str, *names: str, root: str | os.PathLike[str] | None = None) -> StoredImage:
    """Give an image of the store further names, and return it.

    Raises UsageError (`no-image`, `ambiguous-id`, an invalid name), StoreError.
    """
    image = keywords.text("image", image)
    references = tuple(map(read_tag, keywords.texts("names", names)))
    if not references:
        raise UsageError("`tag` needs a name")
    with _store(read_surroundings(root, None)[1]) as store:
        tag_image(store, find_image(store, image), references)
        return _stored(find_image(store, names[0]))


@in_own_words
def pull(
    name: str,
    *,
    platform: str | None = None,
    root: str | os.PathLike[str] | None = None,
    registry: RegistrySettings | None = None,
    on_event: Callable[[Event], object] | None = None,
    cancel: StopSign | None = None,
) -> StoredImage:
    """Pull an image into the store and return it.

    `platform` is OS/ARCH[/VARIANT], by default this machine's; `registry` replaces the settings of the environment and
    config.toml. `on_event` is called in this thread for Progress and Warned; `cancel` is checked ten times a
    second. Raises UsageError, RegistryError, StoreError, Cancelled.
    """
    reference = read_reference(keywords.text("name", name))
    host = this_platform()
    try:
        wanted = parse_platform(keywords.text("platform", platform), host) if platform is not None else host
    except ValueError as error:
        raise UsageError(f"invalid `platform`: {error}", code="platform") from None
    watch = _Watch(f"pull {reference}", on_event, cancel)
    with _transfer(read_surroundings(root, registry)[1], watch) as transfer:

        def work() -> StoredImage:
            pull_image(transfer, look_up(transfer, reference, wanted), watch)
            return _stored(find_image(transfer.store, name))

        return watch.run(work)


@in_own_words
def push(
    image: str,
    *names: str,
    root: str | os.PathLike[str] | None = None,
    registry: RegistrySettings | None = None,
    on_event: Callable[[Event], object] | None = None,
    cancel: StopSign | None = None,
) -> tuple[str, ...]:
    """Push an image of the store, under its own name or the given ones; return `NAME:TAG@DIGEST` of each.

    The other arguments and errors are those of `pull`.
    """
    image = keywords.text("image", image)
    references = tuple(map(read_tag, keywords.texts("names", names)))
    watch = _Watch(f"push {image}", on_event, cancel)
    with _transfer(read_surroundings(root, registry)[1], watch) as transfer:
        found = find_image(transfer.store, image)
        targets = targets_of(found, image, references)

        def work() -> tuple[str, ...]:
            content = to_push(transfer, found)
            pushed = [push_image(transfer, content, target, watch) for target in targets]
            return tuple(f"{item.name.name}:{item.name.tag}@{item.digest}" for item in pushed)

        return watch.run(work)


def tags_of(reference: Reference, registry: RegistrySettings) -> tuple[str, ...]:
    """Return the tags of a repository in its registry. Raises RegistryError."""
    with RegistryClient(registry) as client:
        return client.list_tags(reference, mirrors=True)


def _store(settings: Settings) -> Store:
    return Store(settings.root, time.time)


@contextmanager
def _transfer(settings: Settings, watch: _Watch) -> Iterator[Transfer]:
    with (
        _store(settings) as store,
        RegistryClient(settings.registry, cancelled=watch.cancel, warn=watch.warn) as client,
    ):
        yield Transfer(store, client, watch.cancel, settings.registry.parallel, _wait)


def _wait(tasks: Sequence[Task[None]]) -> None:
    for task in tasks:
        task.result()


def _listed(image: listing.Listed) -> StoredImage:
    return StoredImage(
        image.names, image.root.digest, image.id, image.created, image.compressed_bytes, image.platforms
    )


def _stored(found: Found) -> StoredImage:
    return StoredImage(
        found.names,
        found.root.digest,
        found.id,
        found.created,
        found.size_bytes,
        tuple(str(image.config.platform) for image in found.images),
    )


class _Watch:
    """Hands events of several threads to the caller in its own thread, and checks whether the caller wants to stop."""

    def __init__(self, id: str, on_event: Callable[[Event], object] | None, stop: StopSign | None) -> None:
        optional(keywords.listener, "on_event", on_event)
        keywords.check_cancel("cancel", stop)
        self.cancel = Cancel()
        self._id = id
        self._on_event = on_event
        self._stop = stop
        self._queue: SimpleQueue[Event | None] = SimpleQueue()

    def emit(self, event: Event) -> None:
        """Take an event from any thread."""
        self._queue.put(event)

    def warn(self, code: str, message: str) -> None:
        """Take a warning from any thread."""
        self.emit(Warned(time.time(), code, message))

    def meter(self, digest: str, size_bytes: int) -> Callable[[int], None]:
        """Return a function that takes how many bytes of a blob were moved so far."""
        return lambda current: self.emit(Progress(time.time(), self._id, digest, current, size_bytes))

    def kept(self, blob: Descriptor, outcome: str) -> None:
        """Count a blob that did not have to be moved as moved."""
        self.emit(Progress(time.time(), self._id, blob.digest, blob.size, blob.size))

    def run(self, work: Callable[[], T]) -> T:
        """Do the work in another thread, hand its events on in this one, and return its result."""
        pools = Pools(steps=1, transfers=1, cpu=1)
        task = pools.steps.submit(work)
        task.when_done(lambda: self._queue.put(None))
        try:
            while (event := self._next()) is not None:
                if self._on_event is not None:
                    self._on_event(in_words(event, API))
        finally:
            if not task.done:
                self.cancel.set(_SIGTERM)
            pools.close(Cancelled("the transfer has ended"))
            task.wait()
        return task.result()

    def _next(self) -> Event | None:
        """Wait for an event; None means that the work has ended."""
        while True:
            try:
                return self._queue.get(timeout=_POLL_S if self._stop is not None else None)
            except Empty:
                if self._stop is not None and self._stop.is_set():
                    self.cancel.set(_SIGTERM)

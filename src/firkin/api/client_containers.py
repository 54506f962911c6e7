"""`client.containers`: containers of a store, with docker-py's names. Does I/O. Loaded on first use.

Mirrors: docker/docker-py docker/models/containers.py (ContainerCollection).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from firkin.api import keywords
from firkin.api.client_arguments import prunable, read_filters
from firkin.api.client_container import Container, inspect, output_of
from firkin.api.client_images import Image, ImageCollection
from firkin.api.container_arguments import CreateOptions, Words, create_request
from firkin.api.hints import found_or_missing
from firkin.errors import CommandFailed, ImageNotFound, NotFound

if TYPE_CHECKING:
    from typing import Unpack

    from firkin.containers.home.engine import Engine

_STDERR_BYTES = 64 << 10


class ContainerCollection:
    """The containers of one store."""

    def __init__(self, engine: Engine, images: ImageCollection) -> None:
        self._engine = engine
        self._images = images

    @found_or_missing
    def create(self, image: str | Image, command: Words | None = None, **options: Unpack[CreateOptions]) -> Container:
        """Make a container that does not run. Arguments are docker-py's (`firkin.api.container_arguments`).

        Raises ImageNotFound, UsageError for a wrong argument, ContainerError.
        """
        return self._create(image, command, options, foreground=False)

    @found_or_missing
    def run(
        self,
        image: str | Image,
        command: Words | None = None,
        *,
        stdout: bool = True,
        stderr: bool = False,
        remove: bool = False,
        detach: bool = False,
        stream: bool = False,
        **options: Unpack[CreateOptions],
    ) -> Any:
        """Run a container: with `detach` return it, else wait for its end and return its output.

        An image that is not here is pulled. `remove`: the container goes when it has ended. `stream`: the output comes
        as an iterator over lines. Raises CommandFailed if the command ends with another code than 0, ContainerError if
        it cannot be run, and what `create` raises.
        """
        if detach and remove:
            options["auto_remove"] = True
        try:
            container = self._create(image, command, options, foreground=not detach)
        except ImageNotFound:
            self._images.pull(_image_name(image), platform=options.get("platform"))
            container = self._create(image, command, options, foreground=not detach)
        if detach:
            try:
                container.start()
            except BaseException:
                if remove:
                    container.__exit__()
                raise
            return container
        lines = self._attended(container, stdout=stdout, stderr=stderr, remove=remove)
        return lines if stream else b"".join(lines)

    def _attended(self, container: Container, *, stdout: bool, stderr: bool, remove: bool) -> Iterator[bytes]:
        """Start a container, and return its output until it ends."""
        from firkin.containers.link.attach import AttachTo
        from firkin.containers.start import start

        try:
            attached = start(self._engine, container.id, attach=AttachTo()).attached
        except BaseException:
            if remove:
                container.__exit__()
            raise
        assert attached is not None, "it was asked for"
        wanted = {1: stdout, 2: stderr}

        def pieces() -> Iterator[bytes]:
            said = b""
            try:
                for kind, data in output_of(attached):
                    if kind == 2:
                        said = (said + data)[-_STDERR_BYTES:]
                    if wanted[kind]:
                        yield data
                status = container.wait()["StatusCode"] if attached.exit is None else attached.exit.status
                if status:
                    raise CommandFailed(container, status, container.attrs["Config"]["Image"], said)
            finally:
                if remove:
                    container.__exit__()

        return pieces()

    def _create(
        self, image: str | Image, command: Words | None, options: CreateOptions, *, foreground: bool
    ) -> Container:
        from firkin.containers.create import create
        from firkin.containers.keeping.image import image_for

        request = create_request(_image_name(image), command, options, foreground=foreground)
        created = create(self._engine, request, image_for(self._engine, request.config.image, request.platform))
        return self.get(created.id)

    @found_or_missing
    def get(self, container_id: str) -> Container:
        """Return the container that an id, the beginning of one, or a name means. Raises NotFound."""
        record = self._engine.home.find(keywords.text("container_id", container_id))
        return Container(self._engine, self._images, inspect(self._engine, record))

    @found_or_missing
    def list(
        self,
        *,
        all: bool = False,
        before: str | None = None,
        filters: Mapping[str, str | bool | Iterable[str]] | None = None,
        limit: int = -1,
        since: str | None = None,
        ignore_removed: bool = False,
    ) -> list[Container]:
        """Return the containers that run, with `all` the others as well, newest first.

        `filters` are those of `firkin ps`. Raises ContainerError for a filter that cannot be. One that is removed
        meanwhile is left out.
        """
        from firkin.containers.list import Wanted, list_containers

        values = read_filters(filters, None)
        for key, text in (("before", before), ("since", since)):
            if text is not None:
                values[key] = (*values.get(key, ()), keywords.text(key, text))
        found = []
        for listed in list_containers(self._engine, Wanted(all, max(limit, 0), values)):
            with suppress(NotFound):
                found.append(self.get(listed.entry.record.id))
        return found

    @found_or_missing
    def prune(self, filters: Mapping[str, str | bool | Iterable[str]] | None = None) -> dict[str, Any]:
        """Remove all containers that do not run; return `{"ContainersDeleted": […], "SpaceReclaimed": bytes}`.

        `filters` are `until`, `label` and `label!`. Raises ContainerError.
        """
        from firkin.containers.prune import prune_containers

        fits = prunable(filters)
        pruned = prune_containers(
            self._engine, lambda entry: fits(entry.record.config.labels or {}, entry.record.created)
        )
        return {"ContainersDeleted": list(pruned.names), "SpaceReclaimed": pruned.freed_bytes}


def _image_name(image: str | Image) -> str:
    return image.id if isinstance(image, Image) else keywords.text("image", image)

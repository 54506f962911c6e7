"""Pushes what a build made, to all its names (`images/push_job.py`). Does I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from firkin.builder.output.built import Built, Export
from firkin.builder.solve.session import BuildSession
from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.push import Content
from firkin.images.push_job import Push, PushJob
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.reference import Reference, parse_reference


def push(export: Export) -> str:
    """Push to every name; return a line that says so. Raises UsageError without names, RegistryError, StoreError."""
    session, names = export.session, export.names
    if not names:
        raise UsageError("a name is needed to push to", code="push-name", hints=(Hint.of("push-name"),))
    if session.caches is not None:
        session.caches.settle({name.registry for name in names})
    settings = export.request.registry
    content = Content(export.images, export.index)
    job = PushJob(content, names, export.output.push_by_digest, settings.ignore_immutable_tags)
    work = Push(job, session.client(), session.pools.transfers, _StoreSource(session, export.built), session.emit)
    session.client().repeat(settings.push_retries, work.run)
    return f"registry: {', '.join(f'{name}' for name in names)}"


class _StoreSource:
    """Layers in the store, or in the repository of their base image."""

    def __init__(self, session: BuildSession, built: Iterable[Built]) -> None:
        self._session = session
        self._layers = {layer.descriptor.digest: layer for item in built for layer in item.image.layers}
        refs = [ref for item in built for ref in item.snapshot.layers]
        self._origins = {ref.pulled.descriptor.digest: ref.origin for ref in refs if ref.pulled is not None}

    def open(self, descriptor: Descriptor) -> BinaryIO:
        digest = descriptor.digest
        if self._session.store.blobs.size(digest) != descriptor.size:
            self._session.layers.sources.ensure_blob(self._layers[digest], self._origins.get(digest, ""))
        return self._session.store.blobs.open(digest)

    def origin(self, digest: Digest) -> Reference | None:
        known = self._origins.get(digest, "") or self._session.layers.cached.origin(digest)
        scheme, _, rest = known.partition("://")
        return parse_reference(rest.rpartition("@")[0]) if scheme == "docker-image" else None

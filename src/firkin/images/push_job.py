"""Pushes one content to several names at once: those of a build, or of an artefact that a build left. Does I/O.

Blobs that a repository has are not sent: one HEAD finds out whether a name points to the image already, a second one
whether the image is there under another name. Layers of a base are mounted from the repository they came from; they
are fetched only when that fails. A Push can be run again after an error, and then does what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import BinaryIO, Protocol

import msgspec

from firkin.errors import FirkinError, RegistryError
from firkin.events import Emit, Finished, Planned, Progress, Started, Vertex
from firkin.images.push import Content, push_blobs, push_listed, push_name
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.tasks.pools import Pool

_PROGRESS_S = 0.1
# The errors of Google and Amazon for a tag that cannot be moved. Mirrors: kaniko pkg/executor/push.go, errTagImmutable.
_IMMUTABLE = (
    "The repository has enabled tag immutability",
    "cannot be overwritten because the repository is immutable",
    "cannot be overwritten because the tag is immutable",
)


class LayerSource(Protocol):
    """Where the bytes of layers are, and which image they were pulled with."""

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a layer's blob; it may be fetched first. Called from several threads."""

    def origin(self, digest: Digest) -> Reference | None:
        """Return the image that a layer was pulled with, or None."""


class PushJob(msgspec.Struct, frozen=True):
    """What to push, and under which names."""

    content: Content
    names: tuple[Reference, ...]
    by_digest: bool = False
    ignore_immutable: bool = False  # a tag that cannot be moved is no error

    @property
    def digest(self) -> Digest:
        """The digest that the names will point to."""
        return self.content.root[0].digest


class Push:
    """Pushes one job; `run` may be called again after an error."""

    def __init__(self, job: PushJob, client: RegistryClient, pool: Pool, source: LayerSource, emit: Emit) -> None:
        self._job = job
        self._client = client
        self._pool = pool
        self._source = source
        self._emit = emit
        self._pushed: dict[str, Reference] = {}  # registry -> a repository that has everything

    def run(self) -> None:
        """Push to each repository's names; the blobs for all repositories before any name."""
        repositories: dict[str, list[Reference]] = {}
        for name in self._job.names:
            repositories.setdefault(name.name, []).append(name)
        vertices = {name: Vertex(f"push {name}", f"pushing {name}") for name in repositories}
        self._emit(Planned(time.time(), tuple(vertices.values())))
        steps: list[tuple[str, Callable[[], None]]] = []
        for repository, references in repositories.items():
            id = vertices[repository].id
            self._emit(Started(time.time(), id))
            with _Failing(self, id):
                missing = self._missing_names(references)
                steps.append((id, lambda missing=missing: self._name(missing)))  # type: ignore[misc]
                if missing and not self._has_image(references, missing):
                    self._push_blobs(references[0], id)
                    push_listed(self._client, self._job.content, references[0])
                self._pushed.setdefault(references[0].registry, references[0])
        for id, step in steps:
            with _Failing(self, id):
                step()
            self._emit(Finished(time.time(), id, "done", self._job.digest))

    def fail(self, id: str, why: str) -> None:
        """Emit that a repository's push has failed."""
        self._emit(Finished(time.time(), id, "failed", why))

    def _missing_names(self, references: list[Reference]) -> list[Reference]:
        wanted = self._job.digest
        if self._job.by_digest:
            exact = msgspec.structs.replace(references[0], tag="", digest=wanted)
            return [] if self._client.manifest_digest(exact) == wanted else [exact]
        return [name for name in references if self._client.manifest_digest(_tagged(name)) != wanted]

    def _has_image(self, references: list[Reference], missing: list[Reference]) -> bool:
        if len(missing) < len(references):
            return True
        if self._job.by_digest:
            return False
        exact = msgspec.structs.replace(references[0], tag="", digest=self._job.digest)
        return self._client.manifest_digest(exact) == exact.digest

    def _push_blobs(self, target: Reference, id: str) -> None:
        source = _Blobs(self._client, self._source, self._pushed.get(target.registry))
        progress = _Progress(id, self._emit)
        # Configurations contain the times of this build: a repository without the manifest has none of them.
        push_blobs(self._client, self._job.content, target, source, progress, self._side_by_side, new_configs=True)

    def _side_by_side(self, work: Callable[[Descriptor], None], blobs: Iterable[Descriptor]) -> None:
        """Do the work for every blob, in parallel; none begins after a failure, and all have ended at the return."""
        failed: list[BaseException] = []

        def run(blob: Descriptor) -> None:
            if failed:
                return
            try:
                work(blob)
            except BaseException as error:
                failed.append(error)
                raise

        tasks = [self._pool.submit(lambda blob=blob: run(blob)) for blob in blobs]  # type: ignore[misc]
        errors: list[Exception] = []
        for task in tasks:
            try:
                task.result()
            except (FirkinError, OSError) as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _name(self, missing: list[Reference]) -> None:
        for name in missing:
            try:
                push_name(self._client, self._job.content, _tagged(name))
            except RegistryError as error:
                if not (self._job.ignore_immutable and any(text in error.message for text in _IMMUTABLE)):
                    raise


class _Blobs:
    """The blobs of a push: layers are mounted from a repository of an earlier push, else from their base's."""

    def __init__(self, client: RegistryClient, source: LayerSource, pushed: Reference | None) -> None:
        self._client = client
        self._source = source
        self._pushed = pushed

    def open(self, blob: Descriptor) -> BinaryIO:
        return self._source.open(blob)

    def mount_from(self, target: Reference, digest: Digest) -> str:
        origin = self._pushed or self._source.origin(digest)
        return self._client.mount_source(target, origin) if origin is not None else ""

    def arrived(self, target: Reference, digest: Digest) -> None:
        """There is nothing to note: a build finds out where its layers are."""


class _Progress:
    """Shows the progress of one push's layers."""

    def __init__(self, id: str, emit: Emit) -> None:
        self._id = id
        self._emit = emit

    def meter(self, digest: str, size_bytes: int) -> Callable[[int], None]:
        what, told = digest.partition(":")[2][:12], 0.0

        def moved(current: int) -> None:
            nonlocal told
            now = time.time()
            if now - told >= _PROGRESS_S or current == size_bytes:
                told = now
                self._emit(Progress(now, self._id, what, current, size_bytes))

        return moved

    def kept(self, blob: Descriptor, outcome: str) -> None:
        """There is nothing to show."""


class _Failing:
    """Emits that a vertex failed when the block raises."""

    def __init__(self, push: Push, id: str) -> None:
        self._push = push
        self._id = id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *rest: object) -> None:
        if error is not None:
            self._push.fail(self._id, str(error))


def _tagged(name: Reference) -> Reference:
    """Return the name with its tag only; a digest in a name to push to has no meaning."""
    return msgspec.structs.replace(name, digest=None) if name.tag else name

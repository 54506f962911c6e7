"""What both ends of a copy can do. Pure.

A source describes an image by its manifests and opens its blobs. A target takes blobs, then manifests, then the name.
Methods of a source and `put_blob` of a target are called from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal, Protocol

import msgspec

from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID
from firkin.oci.manifest import Index, Manifest
from firkin.oci.reference import Reference

Document = Manifest | Index
Outcome = Literal["exists", "mounted", "pushed"]
Moved = Callable[[int], None]


class Chunks(Protocol):
    """A blob's bytes. The last ones come only after size and digest were verified; a wrong blob is an error."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """Release the source; unread bytes are dropped."""


class Source(Protocol):
    """Where an image comes from. A context manager."""

    reference: Reference | None
    """The name in a registry, from whose repository another one may mount blobs."""
    whole: bool
    """Whether everything that an index lists has to be there; parts may be absent from archives and the store."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def root(self) -> Document:
        """Return what the name means: a manifest or an index."""

    def document(self, item: Descriptor, /) -> Document | None:
        """Return what an index lists, verified; None if it is absent."""

    def has(self, blob: Descriptor, /) -> bool:
        """Say whether a blob is there; its content is not looked at."""

    def open(self, blob: Descriptor, /) -> Chunks:
        """Open a blob at its start."""


class Wanted(msgspec.Struct, frozen=True):
    """A blob to put: `open` opens it at its start (again for each attempt); `moved` gets the count of its bytes."""

    blob: Descriptor
    open: Callable[[], Chunks]
    moved: Moved
    origin: Reference | None = None  # the name in a registry that it comes from
    diff_id: DiffID | None = None  # of a layer, for a target that `checks_layers`


class Target(Protocol):
    """Where an image goes. A context manager: when it is left by an error, nothing has the name that did not before."""

    parallel: bool
    """Whether several blobs can be put at a time."""
    checks_layers: bool
    """Whether layers are inflated as they pass, and compared with what their image says that they unpack to."""
    keeps_digest_names: bool
    """Whether NAME@DIGEST of the registry that an image comes from can be one of its names."""

    def __enter__(self) -> Target: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def complete(self, document: Document, /) -> bool:
        """Say whether the target has a manifest, and so all blobs of it."""

    def put_blob(self, wanted: Wanted, /) -> Outcome:
        """Put a blob, unless the target has it."""

    def put_document(self, document: Document, /) -> None:
        """Put a manifest or index that an index lists; everything that it names is there."""

    def finish(self, root: Document, tags: tuple[Reference, ...], /) -> None:
        """Put what the name is to mean, and let the target's name and `tags` mean it."""

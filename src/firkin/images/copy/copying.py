"""Copies one image from a source to a target. Does I/O.

Blobs go first, side by side, then the manifests of an index, the deepest first, the root and its names last. So a name
never means something incomplete; a copy that is tried again sends what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from firkin.errors import UsageError
from firkin.images.copy.convert import Converted, Form, convert, diff_ids_of, is_image
from firkin.images.copy.ends import Document, Source, Target, Wanted
from firkin.images.copy.plan import Plan, Selection, blobs_of, make_plan
from firkin.images.copy.several import Several
from firkin.images.progress import Listener
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest
from firkin.oci.reference import Reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Task


class Job(msgspec.Struct, frozen=True):
    """What is copied, in which form, and under which further names.

    `exact` refuses anything that changes a digest.
    """

    selection: Selection
    form: Form = Form()
    exact: bool = False
    digest: Digest | None = None  # what the target has to have
    tags: tuple[Reference, ...] = ()


class Work(msgspec.Struct, frozen=True):
    """What a copy uses. `store` opens the store when a layer is recompressed; `wait` is that of a Transfer."""

    cancel: Cancel
    parallel: int
    wait: Callable[[Sequence[Task[None]]], None]
    listener: Listener
    store: Callable[[], Store]


class Copied(msgspec.Struct, frozen=True):
    """What the target's name means now, and what the source's name means.

    `left_out` lists what an index names and the source does not have; `dropped` are attestations of converted images.
    """

    root: Document
    origin: Document
    left_out: tuple[Descriptor, ...] = ()
    dropped: tuple[Descriptor, ...] = ()

    @property
    def digest(self) -> Digest:
        """The digest of the target's name."""
        return self.root.digest


def copy_image(source: Source, target: Target, job: Job, work: Work) -> Copied:
    """Copy what the source's name means. Raises UsageError, and the errors of both ends."""
    plan = make_plan(source, job.selection)
    if job.exact and plan.left_out:
        raise UsageError(f"{len(plan.left_out)} manifests of the index are not there, so its digest cannot stay")
    several = Several(work.parallel if target.parallel else 1, work.cancel, work.wait)
    origin = plan.root
    converted = convert(plan, job.form, source, work.store, several)
    plan = converted.plan
    if job.exact and plan.root.digest != origin.digest:
        raise UsageError("this form of the image has another digest")
    if job.digest not in (None, plan.root.digest):
        raise UsageError(f"the target is to have the digest {job.digest}, but what is copied has {plan.root.digest}")
    missing = _missing(converted, target, several)
    _put_blobs(source, target, missing, converted, work, several)
    work.cancel.check()
    for document in plan.below:
        if document.digest in missing:
            target.put_document(document)
    target.finish(plan.root, (*job.tags, *_digest_names(source, target, job, plan, origin)))
    return Copied(plan.root, origin, plan.left_out, converted.dropped)


def _digest_names(source: Source, target: Target, job: Job, plan: Plan, origin: Document) -> tuple[Reference, ...]:
    """Return the name by digest in the source's repository, if that has just this document and the target wants it."""
    if source.reference is None or not target.keeps_digest_names:
        return ()
    unchanged = plan.root.digest == origin.digest and not plan.left_out and len(job.selection.platforms) < 2
    return (source.reference.pinned(plan.root.digest),) if unchanged else ()


def _missing(converted: Converted, target: Target, several: Several) -> dict[Digest, Document]:
    """Return the documents that the target does not have with all that they name."""
    documents = {item.digest: item for item in (*converted.plan.below, converted.plan.root)}
    complete: set[Digest] = set()

    def ask(item: Descriptor) -> None:
        if target.complete(documents[item.digest]):
            complete.add(item.digest)

    several(ask, [document.descriptor for document in documents.values()])
    return {digest: document for digest, document in documents.items() if digest not in complete}


def _put_blobs(
    source: Source, target: Target, missing: dict[Digest, Document], converted: Converted, work: Work, several: Several
) -> None:
    blobs: dict[Digest, Descriptor] = {}
    diff_ids: dict[Digest, DiffID] = {}
    for manifest in converted.plan.manifests:
        if manifest.digest in missing:
            for blob in blobs_of(manifest):
                blobs.setdefault(blob.digest, blob)
            if target.checks_layers and is_image(manifest):
                diff_ids |= diff_ids_of(source, manifest)

    def put(blob: Descriptor) -> None:
        made = converted.made.get(blob.digest)
        opened = made or (lambda: source.open(blob))
        meter = work.listener.meter(blob.digest, blob.size)
        origin = source.reference if made is None else None
        outcome = target.put_blob(Wanted(blob, lambda: several.open(opened), meter, origin, diff_ids.get(blob.digest)))
        if outcome != "pushed":
            work.listener.kept(blob, outcome)

    several(put, blobs.values())

"""Makes the image of a snapshot in a given kind: its layers as blobs, then its manifest. Does I/O."""

from __future__ import annotations

import msgspec

from firkin.builder.cache.records import StepRecords
from firkin.builder.graph.assemble import assemble_image
from firkin.builder.graph.step import ImagePlan
from firkin.builder.output.kinds import Kind, insists_on_docker
from firkin.builder.request import BuildRequest
from firkin.builder.solve.memory import Memory
from firkin.builder.solve.session import BuildSession
from firkin.content.format import LayerFormat
from firkin.content.snapshot import Snapshot
from firkin.errors import FirkinError
from firkin.hints import Hint
from firkin.oci import media
from firkin.oci.image import Image, Layer
from firkin.oci.manifest import PairMap

_REWRITTEN = "buildkit/rewritten-timestamp"


def make_image(
    session: BuildSession, request: BuildRequest, memory: Memory, plan: ImagePlan, snapshot: Snapshot, kind: Kind
) -> Image:
    """Write the layers' blobs and return the image; raises FirkinError for an image that cannot be made."""
    form, _, annotations = kind
    tasks = [session.layers.blobs.start(layer, form) for layer in snapshot.layers]
    layers = tuple(task.result() for task in tasks)
    times = tuple(memory.created.get(layer.tree_id) for layer in snapshot.layers)
    family = _family(request, kind, snapshot, layers)
    if family == "oci":
        layers = _told_of_times(form, snapshot, layers)
    try:
        return assemble_image(
            plan,
            layers,
            times,
            family=family,
            annotations=(
                *dict((*request.annotations, *annotations)).items(),
                *_inline_cache(session, request, memory, snapshot, layers, form),
            ),
            epoch_s=form.clamp_s,
        )
    except ValueError as error:
        hints = (Hint.of("output-mediatypes"),) if any(map(_is_zstd, layers)) else ()
        raise FirkinError(f"cannot make the image: {error}", code="assemble", hints=hints) from error


def _family(request: BuildRequest, kind: Kind, snapshot: Snapshot, layers: tuple[Layer, ...]) -> media.Family:
    wanted = kind[1]
    family = _family_of_base(snapshot) if wanted == "base" else wanted
    if family == "docker" and not insists_on_docker(request) and any(map(_is_zstd, layers)):
        return "oci"  # Docker has no media type for such layers; those of a base may be
    return family


def _family_of_base(snapshot: Snapshot) -> media.Family:
    pulled = [ref.pulled for ref in snapshot.layers if ref.pulled is not None]
    return media.layer_family(pulled[-1].descriptor.media_type) if pulled else "docker"


def _told_of_times(form: LayerFormat, snapshot: Snapshot, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Annotate new layers with the epoch, if no time in them is after it.

    Mirrors: buildkit util/converter.
    """
    if not form.clamp_all or form.clamp_s is None:
        return layers
    annotations = ((_REWRITTEN, str(form.clamp_s)),)
    return tuple(
        layer if ref.pulled is not None else msgspec.structs.replace(
            layer, descriptor=msgspec.structs.replace(layer.descriptor, annotations=annotations)
        )
        for ref, layer in zip(snapshot.layers, layers, strict=True)
    )  # fmt: skip


def _inline_cache(
    session: BuildSession, request: BuildRequest, memory: Memory, snapshot: Snapshot, layers: tuple[Layer, ...],
    form: LayerFormat,
) -> PairMap:
    """Return the annotation that makes the image a cache of its own layers, if --cache-to has type=inline."""
    if not any(cache.type == "inline" for cache in request.cache_to):
        return ()
    from firkin.builder.solve.caches import inline_cache

    return inline_cache(memory.used, StepRecords(session.store), snapshot, layers, form)


def _is_zstd(layer: Layer) -> bool:
    return media.layer_compression(layer.descriptor.media_type) == "zstd"

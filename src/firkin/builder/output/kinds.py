"""The kind of image that an output needs: the form of its layers, its media types, its annotations. Pure."""

from __future__ import annotations

from typing import Literal

from firkin.builder.graph.step import ImagePlan
from firkin.builder.request import BuildRequest, Output
from firkin.content.format import LayerFormat
from firkin.oci import media
from firkin.oci.manifest import PairMap

Family = media.Family | Literal["base"]
"""The kind of manifest; base: that of the base image, docker if there is none."""

Kind = tuple[LayerFormat, Family, PairMap]
"""What distinguishes the images of one build: the form of the layers, media types, annotations."""


def kind_of(request: BuildRequest, output: Output, plan: ImagePlan) -> Kind:
    """Return the kind of image that an output needs."""
    return form_of(request, output, plan), family_of(request, output), output.annotations


def form_of(request: BuildRequest, output: Output, plan: ImagePlan) -> LayerFormat:
    """Return the form of layers that an output needs."""
    return LayerFormat(
        output.compression,
        output.compression_level,
        clamp_s=epoch_of(request, output, plan),
        clamp_all=_rewrites(request, output),
        force=output.force_compression,
        ignore=tuple(path.strip("/") for path in request.ignore_paths),
    )


def epoch_of(request: BuildRequest, output: Output, plan: ImagePlan) -> int | None:
    """Return the time of everything new; None if the clock gives it.

    It is the output's own epoch, else SOURCE_DATE_EPOCH, else, if timestamps are rewritten, the base's time.
    """
    epoch_s = output.epoch_s if output.own_epoch else plan.source_date_epoch
    return plan.base_s if epoch_s is None and _rewrites(request, output) else epoch_s


def _rewrites(request: BuildRequest, output: Output) -> bool:
    """Tell whether the epoch also limits the times of files from contexts and downloads."""
    own = output.rewrite_timestamp
    return request.rewrite_timestamp if own is None else own


def family_of(request: BuildRequest, output: Output) -> Family:
    """Return the kind of manifest that an output needs."""
    asked = output.media_family or request.media_family
    return asked or ("docker" if output.type == "docker" and output.compression != "zstd" else "oci")


def insists_on_docker(request: BuildRequest) -> bool:
    """Tell whether the request names Docker's media types."""
    return "docker" in (request.media_family, *(output.media_family for output in request.outputs))

"""The images that a build has made, and the part that one output gets. Pure."""

from __future__ import annotations

import msgspec

from firkin.builder.graph.step import ImagePlan
from firkin.builder.request import BuildRequest, Output
from firkin.builder.solve.session import BuildSession
from firkin.content.format import LayerFormat
from firkin.content.snapshot import Snapshot
from firkin.oci.image import Image
from firkin.oci.manifest import Index
from firkin.oci.reference import Reference


class Built(msgspec.Struct, frozen=True):
    """An image in the form that some outputs need, and what is needed to find its layers."""

    plan: ImagePlan
    snapshot: Snapshot
    image: Image
    form: LayerFormat


class Export(msgspec.Struct, frozen=True):
    """The data for one output. `index` joins several images; `dest` is absolute, `-`, or ""."""

    session: BuildSession
    request: BuildRequest
    output: Output
    built: tuple[Built, ...]
    index: Index | None
    names: tuple[Reference, ...]
    dest: str

    @property
    def images(self) -> tuple[Image, ...]:
        """The images alone."""
        return tuple(item.image for item in self.built)

"""The errors for a layer that cannot be unpacked, or cannot be written. Pure."""

from __future__ import annotations

from firkin.errors import FirkinError, RegistryError, StepFailed, StoreError
from firkin.hints import Hint
from firkin.oci.descriptor import Descriptor


def damaged(descriptor: Descriptor, origin: str, error: ValueError) -> FirkinError:
    """Return the error for a layer's blob that is invalid, or that exceeds the limits of unpacking."""
    from firkin.layer.tar import limit_hints

    what = f"layer {descriptor.digest} cannot be unpacked: {error}"
    if hints := limit_hints(error):
        return StepFailed(what, code="unpack-limit", hints=hints)
    if origin:
        return RegistryError(
            what, code="registry-layer", hints=(f"it came from {origin.partition('://')[2]}; pull or push it again",)
        )
    return StoreError(what, code="layer-damaged", hints=(Hint.of("no-cache"),))


def unfit(error: ValueError) -> StepFailed:
    """Return the error for a file that a layer cannot hold: its name means a removal, or it changed meanwhile."""
    return StepFailed(
        str(error),
        code="layer-content",
        hints=("give it another name or leave it out; what is being written to can be built once that is done",),
    )

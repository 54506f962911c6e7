"""The form of a layer's blob: everything that its bytes depend on besides its tree. Pure."""

from __future__ import annotations

import msgspec

from firkin.content.snapshot import LayerRef
from firkin.oci import media


class LayerFormat(msgspec.Struct, frozen=True):
    """Everything that the bytes of a layer's blob depend on besides its tree."""

    compression: media.Compression = "gzip"
    level: int | None = None
    clamp_s: int | None = None  # latest mtime, seconds since the epoch
    clamp_all: bool = True  # False: clamp only layers with times from a RUN
    force: bool = False  # recompress pulled layers that are compressed otherwise
    ignore: tuple[str, ...] = ()  # paths left out

    @property
    def variant(self) -> str:
        """The name of this form in the store's records."""
        level = "" if self.level is None else str(self.level)
        clamp = "" if self.clamp_s is None else str(self.clamp_s)
        return ":".join((self.compression, level, clamp, *self.ignore))

    def of(self, ref: LayerRef) -> LayerFormat:
        """Return the form of one layer: layers of a base always keep their times."""
        return self.when(from_run=ref.from_run) if ref.pulled is None else self.unclamped()

    def when(self, *, from_run: bool) -> LayerFormat:
        """Return the form of a new layer."""
        return self if self.clamp_all or from_run else self.unclamped()

    def unclamped(self) -> LayerFormat:
        """Return the form that keeps all times."""
        return self if self.clamp_s is None else msgspec.structs.replace(self, clamp_s=None)

    def accepts(self, variant: str) -> bool:
        """Say whether a blob of another form can be used as it is: another level alone is accepted."""
        theirs, ours = variant.split(":"), self.variant.split(":")
        return theirs == ours or (not self.force and (theirs[0], theirs[2:]) == (ours[0], ours[2:]))

    def can_be_made_of(self, variant: str) -> bool:
        """Say whether a blob of another form still has all paths and times that this form needs."""
        theirs, ours = variant.split(":"), self.variant.split(":")
        return theirs[3:] == ours[3:] and theirs[2] in ("", ours[2])

"""Descriptors: media type, digest and size of content that is stored elsewhere. Pure.

Spec: image-spec descriptor.md.
"""

import msgspec

from firkin.oci.digest import Digest
from firkin.oci.platform import Platform


class Descriptor(msgspec.Struct, frozen=True):
    """A pointer to content; `annotations` is a tuple of (key, value), in order."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    urls: tuple[str, ...] = ()
    artifact_type: str = ""

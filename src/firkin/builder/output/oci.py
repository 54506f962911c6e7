"""Writes images as an OCI image layout (type=oci). Does I/O."""

from __future__ import annotations

from firkin.builder.output.built import Export
from firkin.builder.output.gather import gather
from firkin.images.archive import standard_output
from firkin.images.oci_layout import write_directory, write_tar
from firkin.images.pack import pack_images


def write(export: Export) -> str:
    """Write a tar or a directory."""
    gather(export.session, export.built)
    output, blobs = export.output, export.session.store.blobs
    packed = (pack_images(export.images, export.index, export.names),)
    if output.tar:
        write_tar(packed, blobs, export.dest, standard_output(export.dest))
    else:
        write_directory(packed, blobs, export.dest, alone=output.alone)
    return f"oci: {output.dest}"

"""Writes images as an OCI image layout (type=oci). Does I/O."""

from __future__ import annotations

from firkin.builder.output.built import Export
from firkin.builder.output.gather import gather
from firkin.images.archive import standard_output
from firkin.images.oci_layout import write_directory, write_tar


def write(export: Export) -> str:
    """Write a tar or a directory."""
    gather(export.session, export.built)
    output, blobs = export.output, export.session.store.blobs
    if output.tar:
        stdout = standard_output(export.dest)
        write_tar(export.images, export.index, export.names, blobs, export.dest, stdout)
    else:
        write_directory(export.images, export.index, export.names, blobs, export.dest, alone=output.alone)
    return f"oci: {output.dest}"

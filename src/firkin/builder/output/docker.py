"""Writes an image as a tar for `docker load` (type=docker). Does I/O."""

from __future__ import annotations

from firkin.builder.output.built import Export
from firkin.builder.output.gather import gather
from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.archive import standard_output
from firkin.images.docker_archive import write_docker_archive, write_flat_archive
from firkin.images.pack import pack_images


def write(export: Export) -> str:
    """Write a tar; raises UsageError for several platforms."""
    gather(export.session, export.built)
    if export.index is not None:
        raise UsageError(
            "docker exporter does not currently support exporting manifest lists",
            code="output",
            hints=(Hint.of("output-platforms"),),
        )
    source, stdout = export.session.store.blobs, standard_output(export.dest)
    if export.output.flat:
        write_flat_archive(export.images[0], export.names, source, export.dest, stdout)
    else:
        write_docker_archive((pack_images(export.images, None, export.names),), source, export.dest, stdout)
    return f"docker: {export.output.dest}"

"""Finds the time of the commit or the download that SOURCE_DATE_EPOCH names instead of a number. Does I/O.

`build` imports it. `dockerfile/epoch.py` finds which one it names.
"""

from __future__ import annotations

from firkin.builder.bases import Bases
from firkin.builder.dockerfile.stages import EPOCH
from firkin.builder.dockerfile.state import LowerOptions
from firkin.builder.dockerfile.syntax import Dockerfile
from firkin.builder.solve.session import BuildSession


def named_epoch(session: BuildSession, dockerfile: Dockerfile, options: LowerOptions, bases: Bases) -> int | None:
    """Return the time of the commit or download that SOURCE_DATE_EPOCH names; None if it names none."""
    if EPOCH not in options.arguments and EPOCH not in dockerfile.source.text:
        return None
    from firkin.builder.dockerfile.epoch import find_epoch_source

    source = find_epoch_source(dockerfile, options, bases)
    if source is None:
        return None
    if isinstance(source, str):
        if source and session.contexts.image(source, options.platform) is not None:
            return None
        files = session.contexts.files[source]
    else:
        files = session.contexts.fetch(source, "", session.stop)
    return files.time_s if files.time_s is not None else session.newest_in_archive(files)

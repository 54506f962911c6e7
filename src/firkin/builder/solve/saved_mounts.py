"""Restores cache mounts from a remote cache before the first use, and saves them after the build. Does I/O.

Off unless the cache has `mounts=true`. A mount is one layer blob, under a name that covers its id,
owner, mode and origin; the newest replaces what was saved before.

A command in a sandbox without mounts can replace its cache mount by anything. Only a real directory is handed out,
kept or saved (`store.mounts.is_sound`): a link would expose its target to the next build.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from firkin.builder.solve.services import Services
from firkin.errors import Cancelled, FirkinError, StepFailed
from firkin.events import Warned
from firkin.layer.confined import unpack_confined
from firkin.layer.scan import iter_upper_changes
from firkin.layer.stream import write_layer
from firkin.linux.folders import remove_tree
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID
from firkin.oci.image import Layer
from firkin.store.mounts import files_of, is_sound

if TYPE_CHECKING:
    from firkin.builder.request import CacheRef


def restore_mount(services: Services, name: str, title: str, place: str, vertex: str) -> bool:
    """Fill the new directory `place` with what a cache saved under `name`; say whether there was anything.

    A mount that cannot be restored stays empty, with a warning: a cache mount may always be empty.
    """
    remote = services.remote
    if remote is None:
        return False
    try:
        found = remote.find_mount(name)
        if found is None:
            return False
        entry, origin = found
        services.layers.sources.ensure_blob(entry.blob, origin, vertex)
        with services.store.blobs.open(entry.blob.descriptor.digest) as file:

            def chunks() -> Iterator[bytes]:
                while chunk := file.read(1 << 20):
                    services.stop.check()
                    yield chunk

            blob = entry.blob
            chown = not services.layers.owner_free
            unpack_confined(chunks(), blob.descriptor, blob.diff_id, place, chown=chown, limits=services.layers.limits)
    except Cancelled:
        raise
    except (FirkinError, ValueError, OSError) as error:
        warn_of_mount(services, f"cache mount `{title}` is not restored: {error}")
        remove_tree(place)
        os.mkdir(place, 0o755)
        return False
    return True


def save_mount(services: Services, title: str, path: str, ref: CacheRef) -> Layer | None:
    """Write the mount at `path` (its lock beside it) as a blob; None if it is not to be saved."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_sound(path):
            return None  # the warning came when the command ended
        size = _size(files_of(path), ref.max_mount_bytes)
        if size > ref.max_mount_bytes:
            text = f"cache mount `{title}` is not saved: it holds more than {ref.max_mount_bytes} bytes"
            warn_of_mount(services, text)
            return None
        return _write(services, files_of(path), ref)
    except BlockingIOError:
        warn_of_mount(services, f"cache mount `{title}` is not saved: another build uses it")
        return None
    except (ValueError, StepFailed) as error:  # a file that no layer can hold
        warn_of_mount(services, f"cache mount `{title}` is not saved: {error}")
        return None
    finally:
        os.close(descriptor)


def _write(services: Services, root: str, ref: CacheRef) -> Layer:
    writer = services.store.blobs.new()
    try:
        written = write_layer(iter_upper_changes(root), writer, compression=ref.compression)
        writer.commit(written.digest)
    finally:
        writer.abort()
    services.store.records.add_blob(written.digest, written.size)
    media_type = media.layer_media_type("oci", ref.compression)
    return Layer(DiffID(written.diff_id), Descriptor(media_type, written.digest, written.size))


def _size(root: str, limit: int) -> int:
    """Add up the sizes of files until they exceed the limit. Raises ValueError for a tree too deep for any path."""
    total = 0
    stack = [root]
    try:
        while stack and total <= limit:
            with os.scandir(stack.pop()) as items:
                for item in items:
                    if item.is_dir(follow_symlinks=False):
                        stack.append(item.path)
                    else:
                        total += item.stat(follow_symlinks=False).st_size
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ValueError("its directories are nested too deeply") from None
    return total


def warn_of_mount(services: Services, text: str) -> None:
    """Warn that a cache mount is not restored or not saved, or that it starts empty."""
    services.emit(Warned(services.clock(), "cache-mount", text))

"""Cache mounts of RUN: emptied for --no-cache; in a cache elsewhere. Does I/O.

What is elsewhere is restored before the first use, and saved when the build is done.

Off unless a cache is told to (`mounts=true`). A mount is one layer blob, under a name that covers its id,
owner, mode and origin; the newest replaces what was saved before.

A command of a sandbox without mounts can put anything in the place of its cache mount. Only a real directory is
handed out, kept or saved (`is_sound`): a link would give whatever it leads to to the next build.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from firkin.errors import Cancelled, FirkinError, StepFailed
from firkin.events import Warned
from firkin.layer.confined import unpack_confined
from firkin.layer.scan import iter_upper_changes
from firkin.layer.stream import write_layer
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID
from firkin.oci.image import Layer
from firkin.store.layout import locked, remove_tree, write_atomically

if TYPE_CHECKING:
    from firkin.builder.request import CacheRef
    from firkin.builder.solve.engine import Engine


def first_number(engine: Engine, name: str) -> int:
    """Return the number of the directory from which on those of the cache mount `name` are to be used."""
    try:
        with open(f"{engine.store.layout.mounts}/{name}.first", encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


def mount_path(engine: Engine, name: str, number: int) -> str:
    """Return the place of a directory of a cache mount, beside which its lock is."""
    return f"{engine.store.layout.mounts}/{name}" + (f"-{number}" if number else "")


def empty_mount(engine: Engine, name: str) -> None:
    """Let the cache mount `name` begin empty, once in a build: its next directory gets a new number.

    A command of another build that uses the old one keeps it, and is not waited for; nobody uses it after that.
    Mirrors: buildkit worker/base PruneCacheMounts, which llbsolver calls for what --no-cache executes.
    """
    with engine.emptying:
        if name in engine.emptied:
            return
        with locked(f"{mount_path(engine, name, 0)}.first.lock"):
            used = _numbers(engine, name)
            if used:
                following = str(max(used) + 1).encode()
                write_atomically(f"{mount_path(engine, name, 0)}.first", following, engine.store.layout.scratch)
        for number in used:
            _remove_unused(engine, mount_path(engine, name, number))
        engine.emptied.add(name)


def _numbers(engine: Engine, name: str) -> list[int]:
    """Return the numbers of a cache mount's directories."""
    items = (item.partition("-") for item in os.listdir(engine.store.layout.mounts))
    return [int(number or "0") for start, _, number in items if start == name and (number.isdigit() or not number)]


def _remove_unused(engine: Engine, path: str) -> None:
    descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        place = engine.store.layout.scratch_path("gone")
        os.rename(path, place)
        remove_tree(place)
    except BlockingIOError:
        pass  # `firkin prune` finds it later
    finally:
        os.close(descriptor)


def wait_for(engine: Engine, descriptor: int) -> None:
    """Lock a file when nobody else holds it any more; raises Cancelled."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            engine.cancel.check()
            time.sleep(0.05)


def is_sound(path: str) -> bool:
    """Say whether a cache mount is kept at `path`: a directory with a directory `fs`, and neither is a link."""
    try:
        return all(stat.S_ISDIR(os.lstat(place).st_mode) for place in (path, f"{path}/fs"))
    except (FileNotFoundError, NotADirectoryError):
        return False


def check_left(engine: Engine, title: str, path: str) -> None:
    """Throw away what a command left at `path` if it is not the directory any more; the next one gets a new one."""
    if not is_sound(path):
        remove_tree(path)
        _warn(engine, f"cache mount `{title}` starts empty next time: the command replaced its directory")


def restore_mount(engine: Engine, name: str, title: str, place: str, vertex: str) -> bool:
    """Fill the new directory `place` with what a cache saved under `name`; say whether it had something.

    What cannot be restored is told and left out: a cache mount may always be empty.
    """
    remote = engine.remote
    if remote is None:
        return False
    try:
        found = remote.find_mount(name)
        if found is None:
            return False
        entry, origin = found
        engine.layers.sources.ensure_blob(entry.blob, origin, vertex)
        with engine.store.blobs.open(entry.blob.descriptor.digest) as file:

            def chunks() -> Iterator[bytes]:
                while chunk := file.read(1 << 20):
                    engine.cancel.check()
                    yield chunk

            blob = entry.blob
            chown = not engine.layers.owner_free
            unpack_confined(chunks(), blob.descriptor, blob.diff_id, place, chown=chown, limits=engine.layers.limits)
    except Cancelled:
        raise
    except (FirkinError, ValueError, OSError) as error:
        _warn(engine, f"cache mount `{title}` is not restored: {error}")
        remove_tree(place)
        os.mkdir(place, 0o755)
        return False
    return True


def save_mount(engine: Engine, title: str, path: str, ref: CacheRef) -> Layer | None:
    """Write the mount at `path` (its `fs` directory, its lock beside) as a blob; None where that must not be."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_sound(path):
            return None  # as was told when the command had ended
        size = _size(f"{path}/fs", ref.max_mount_bytes)
        if size > ref.max_mount_bytes:
            _warn(engine, f"cache mount `{title}` is not saved: it holds more than {ref.max_mount_bytes} bytes")
            return None
        return _write(engine, f"{path}/fs", ref)
    except BlockingIOError:
        _warn(engine, f"cache mount `{title}` is not saved: another build uses it")
        return None
    except (ValueError, StepFailed) as error:  # of what no layer can hold
        _warn(engine, f"cache mount `{title}` is not saved: {error}")
        return None
    finally:
        os.close(descriptor)


def _write(engine: Engine, root: str, ref: CacheRef) -> Layer:
    writer = engine.store.blobs.new()
    try:
        written = write_layer(iter_upper_changes(root), writer, compression=ref.compression)
        writer.commit(written.digest)
    finally:
        writer.abort()
    engine.store.records.add_blob(written.digest, written.size)
    media_type = media.layer_media_type("oci", ref.compression)
    return Layer(DiffID(written.diff_id), Descriptor(media_type, written.digest, written.size))


def _size(root: str, limit: int) -> int:
    """Add the sizes of files up, until they are over the limit. Raises ValueError for a tree that no path can reach."""
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


def _warn(engine: Engine, text: str) -> None:
    engine.emit(Warned(engine.clock(), "cache-mount", text))

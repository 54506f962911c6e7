"""Checks the store after the machine went down: the last writes may not have reached the disk. Does I/O.

Trees and blobs are renamed into place without waiting for the disk: waiting would cost seconds a build. A
killed process loses nothing by that. After a power failure, names can be there without their bytes. So the
store notes in which boot it was used last. In a new boot it checks what was made in the last minutes of the
old one (the kernel writes everything back well within that): blobs are compared with their digest, trees are
removed, because they are a cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from firkin.linux.folders import remove_tree
from firkin.oci.digest import finish, new_hasher
from firkin.store.layout import StoreLayout, locked, write_atomically

DOUBTFUL_S = 180.0
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_CHUNK = 1 << 20


def read_boot_id(path: str = _BOOT_ID) -> str:
    """Return the identifier of this boot, "" where the kernel gives none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def _made_at(entry: os.DirEntry[str]) -> float:
    return entry.stat().st_ctime  # renaming sets it


def check_after_boot(
    layout: StoreLayout, boot_id: str, made_at: Callable[[os.DirEntry[str]], float] = _made_at
) -> tuple[str, ...]:
    """Remove what a crash may have damaged, once a boot; returns the names of what was removed."""
    marker = f"{layout.root}/boot"
    if not boot_id or _read(marker) == boot_id:
        return ()
    with locked(f"{layout.root}/boot.lock"):
        before = _read(marker)
        if before == boot_id:
            return ()
        gone = tuple(_remove_doubtful(layout, made_at)) if before else ()
        write_atomically(marker, boot_id.encode(), layout.scratch)
    return gone


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _remove_doubtful(layout: StoreLayout, made_at: Callable[[os.DirEntry[str]], float]) -> Iterator[str]:
    blobs = f"{layout.blobs}/sha256"
    trees = [(entry.path, made_at(entry)) for entry in os.scandir(layout.trees)]
    files = [(entry.path, made_at(entry)) for entry in os.scandir(blobs)]
    if not trees and not files:
        return
    limit = max(when for _, when in (*trees, *files)) - DOUBTFUL_S
    for path, when in trees:
        if when >= limit:
            remove_tree(path)
            yield os.path.basename(path)
    for path, when in files:
        if when >= limit and not _is_whole(path):
            os.unlink(path)
            yield f"sha256:{os.path.basename(path)}"


def _is_whole(path: str) -> bool:
    hasher = new_hasher()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return finish(hasher) == f"sha256:{os.path.basename(path)}"

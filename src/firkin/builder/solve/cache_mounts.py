"""Cache mounts of RUN: their directories, their locks, and emptying for --no-cache. Does I/O.

A mount is a directory below `mounts` of the store, with a lock file beside it; its name is a digest (see `_name_of`).
Further directories of one mount, for sharing=private or after emptying, get a number behind the name.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from firkin.builder.graph.ops import CacheMount
from firkin.builder.solve.inputs import copy_subtree, trees_of
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.result import Result
from firkin.builder.solve.saved_mounts import restore_mount, save_mount, warn_of_mount
from firkin.builder.solve.services import Services
from firkin.content.snapshot import Snapshot
from firkin.errors import HostError
from firkin.hints import Hint
from firkin.layer.view import resolve_path
from firkin.linux.folders import remove_tree
from firkin.oci.digest import framed_hash
from firkin.store.layout import locked, write_atomically
from firkin.store.mounts import files_of, is_sound, stage_mount


class CacheMounts:
    """The cache mounts of one build. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._mounts = services.store.layout.mounts
        self._emptying = threading.Lock()
        self._emptied: set[str] = set()

    def empty(self, mount: CacheMount, inputs: tuple[Result, ...]) -> None:
        """Let a cache mount begin empty, once in a build: its next directory gets a new number.

        A command of another build that uses the old directory keeps it, and is not waited for; later commands use
        the new one. Mirrors: buildkit worker/base PruneCacheMounts, which llbsolver calls for steps of --no-cache.
        """
        name = _name_of(mount, inputs)
        with self._emptying:
            if name in self._emptied:
                return
            with locked(f"{self._path(name, 0)}.first.lock"):
                used = self._numbers(name)
                if used:
                    following = str(max(used) + 1).encode()
                    write_atomically(f"{self._path(name, 0)}.first", following, self._services.store.layout.scratch)
            for number in used:
                self._remove_unused(self._path(name, number))
            self._emptied.add(name)

    @contextmanager
    def open(self, mount: CacheMount, job: LayerJob) -> Iterator[str]:
        """Yield the directory of a cache mount, made on first use and locked as its sharing says.

        Raises HostError when the directory cannot get its owner, Cancelled when the build ends while another command
        holds it.
        """
        services = self._services
        name = _name_of(mount, job.inputs)
        path, descriptor = self._lock(name, mount.sharing)
        try:
            if not is_sound(path):
                with locked(path + ".new"):
                    if not is_sound(path):
                        self._make(path, name, mount, job)
            if services.remote is not None and not mount.readonly:
                title = public_id(mount, job.step.meta.written)
                services.remote.use_mount(name, title, lambda ref: save_mount(services, mount.id, path, ref))
            os.utime(path + ".lock")  # when it was used last, for `firkin prune`
            try:
                yield files_of(path)
            finally:
                self._check_left(mount.id, path)
        finally:
            os.close(descriptor)

    def _lock(self, name: str, sharing: str) -> tuple[str, int]:
        """Return a directory's path and its lock's descriptor; for private use, those of the first that is free."""
        number = self._first_number(name)
        while True:
            path = self._path(name, number)
            descriptor = os.open(path + ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                if sharing == "shared" and not self._services.runtime().moves_caches:
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
                elif sharing == "private":
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                else:
                    self._wait_for(descriptor)
                return path, descriptor
            except BlockingIOError:  # private, and in use: try the next one
                os.close(descriptor)
                number += 1
            except BaseException:
                os.close(descriptor)
                raise

    def _wait_for(self, descriptor: int) -> None:
        """Lock a file as soon as nobody else holds it; raises Cancelled."""
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self._services.stop.check()
                time.sleep(0.05)

    def _make(self, path: str, name: str, mount: CacheMount, job: LayerJob) -> None:
        """Make the directory, filled with the copy in a remote cache, else with the files of its `from`."""
        services = self._services
        remove_tree(path)  # a remnant of a command that was killed together with firkin, or a link
        staged = stage_mount(services.store.layout, mount.id)
        files = files_of(staged)
        restored = name not in self._emptied and restore_mount(services, name, mount.id, files, job.vertex)
        mode, uid, gid = mount.mode, mount.uid, mount.gid
        if mount.input >= 0 and mode < 0:
            trees = trees_of(services, job.inputs[mount.input], job.vertex)
            if not restored:
                copy_subtree(services, trees, mount.source, files)
            view = services.layers.trees.stack(tuple(reversed(trees)))
            top = view.lstat(resolve_path(view, mount.source))
            mode, uid, gid = (0o755, 0, 0) if top is None else (top.mode, top.uid, top.gid)
        try:
            if not services.layers.owner_free:  # with one id every USER owns it, with all rights
                os.chown(files, uid, gid)
        except OSError as error:
            raise HostError(
                f"cannot give the cache mount to {uid}:{gid}: {(error.strerror or '').lower()}",
                code="cache-mount-owner",
                hints=(Hint.of("host-ids"),),
            ) from error
        os.chmod(files, mode)
        os.rename(staged, path)

    def _check_left(self, title: str, path: str) -> None:
        """Remove whatever a command put in the place of the directory `path`; the next command gets a new one."""
        if not is_sound(path):
            remove_tree(path)
            text = f"cache mount `{title}` starts empty next time: the command replaced its directory"
            warn_of_mount(self._services, text)

    # Places

    def _path(self, name: str, number: int) -> str:
        """Return the path of a cache mount's directory; its lock lies beside it."""
        return f"{self._mounts}/{name}" + (f"-{number}" if number else "")

    def _first_number(self, name: str) -> int:
        """Return the lowest number of a directory of the cache mount `name` that may still be used."""
        try:
            with open(f"{self._mounts}/{name}.first", encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return 0

    def _numbers(self, name: str) -> list[int]:
        """Return the numbers of a cache mount's directories."""
        items = (item.partition("-") for item in os.listdir(self._mounts))
        return [int(number or "0") for start, _, number in items if start == name and (number.isdigit() or not number)]

    def _remove_unused(self, path: str) -> None:
        descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            place = self._services.store.layout.scratch_path("gone")
            os.rename(path, place)
            remove_tree(place)
        except BlockingIOError:
            pass  # `firkin prune` finds it later
        finally:
            os.close(descriptor)


def _name_of(mount: CacheMount, inputs: tuple[Result, ...]) -> str:
    """Return the name of a cache mount's directory.

    Owner, mode and origin belong to its identity, as in BuildKit: mounts that ask for different ones
    get different directories.
    """
    source = None if mount.input < 0 else inputs[mount.input]
    origin = source.identity if isinstance(source, Snapshot) else "" if source is None else "files"
    identity = (mount.id, f"{mount.mode:o}:{mount.uid}:{mount.gid}", origin, mount.source if origin else "")
    return framed_hash(part.encode() for part in identity)


def public_id(mount: CacheMount, written: str) -> str:
    """Return a cache mount's id as other machines may see it: as written in the Dockerfile, or a placeholder.

    An id with variables in it would reveal values of build arguments.
    """
    own = mount.id.partition("/")[2]  # without the namespace, which is a build argument
    return own if own in written else "(its id is made of variables)"

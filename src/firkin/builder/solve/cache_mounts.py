"""Cache mounts of RUN: their directories, who may use them at a time, and emptying for --no-cache. Does I/O.

A mount is a directory of the store below `mounts`, named by a digest of what it is, with a lock beside it. One that
is used by nobody else (sharing=private) or that begins empty gets a number behind its name.
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

        A command of another build that uses the old one keeps it, and is not waited for; nobody uses it after that.
        Mirrors: buildkit worker/base PruneCacheMounts, which llbsolver calls for what --no-cache executes.
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
        """Yield the directory of a cache mount, made on first use; held according to its sharing.

        Raises HostError when it cannot get its owner, Cancelled when the build ends while another command holds it.
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
            os.utime(path + ".lock")  # when it was last of use, for `firkin prune`
            try:
                yield files_of(path)
            finally:
                self._check_left(mount.id, path)
        finally:
            os.close(descriptor)

    def _lock(self, name: str, sharing: str) -> tuple[str, int]:
        """Return a directory's place and its lock's descriptor: the first one, or for private use one that is free."""
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
            except BlockingIOError:  # private, and in use: take one of our own
                os.close(descriptor)
                number += 1
            except BaseException:
                os.close(descriptor)
                raise

    def _wait_for(self, descriptor: int) -> None:
        """Lock a file when nobody else holds it any more; raises Cancelled."""
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self._services.stop.check()
                time.sleep(0.05)

    def _make(self, path: str, name: str, mount: CacheMount, job: LayerJob) -> None:
        """Make the directory: with what a cache elsewhere has of it, else with what its `from` gives."""
        services = self._services
        remove_tree(path)  # what is left when a command and all that watched it were killed at once, or a link
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
            if not services.layers.owner_free:  # with one id a command has it, whatever its USER, and may do everything
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
        """Throw away what a command left at `path` if it is not the directory any more; the next one gets a new one."""
        if not is_sound(path):
            remove_tree(path)
            text = f"cache mount `{title}` starts empty next time: the command replaced its directory"
            warn_of_mount(self._services, text)

    # Places

    def _path(self, name: str, number: int) -> str:
        """Return the place of a directory of a cache mount, beside which its lock is."""
        return f"{self._mounts}/{name}" + (f"-{number}" if number else "")

    def _first_number(self, name: str) -> int:
        """Return the number of the directory from which on those of the cache mount `name` are to be used."""
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
    """Return a cache mount's id as other machines may see it: as it is written, or not at all.

    Where variables make it, it tells values of build arguments.
    """
    own = mount.id.partition("/")[2]  # without the namespace, which is a build argument
    return own if own in written else "(its id is made of variables)"

"""Opens the mounts of a RUN, and holds them until the command has ended. Does I/O. `ops.run` loads it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import assert_never

from firkin.builder.graph import ops
from firkin.builder.request import Secret
from firkin.builder.solve.cache_mounts import CacheMounts
from firkin.builder.solve.inputs import trees_of
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.services import Services
from firkin.errors import StepFailed
from firkin.hints import Hint
from firkin.layer.view import resolve_path
from firkin.linux.folders import remove_tree
from firkin.oci.run import FileMount, HostMount, MemoryMount, Mount


class RunMounts:
    """The mounts of one command, and the variables that come with them; `stack` is closed when it has ended."""

    def __init__(self, services: Services, caches: CacheMounts, job: LayerJob, op: ops.Run, stack: ExitStack) -> None:
        self._services = services
        self._caches = caches
        self._job = job
        self._stack = stack
        self._ssh_named = any(item.startswith("SSH_AUTH_SOCK=") for item in op.env)
        self.variables: list[tuple[str, str]] = []
        mounts = [mount for mount in map(self._open, op.mounts) if mount is not None]
        files = [FileMount(path, content.encode("utf-8", "surrogateescape"), mode) for path, content, mode in op.files]
        self.mounts: tuple[Mount, ...] = (*mounts, *files)

    def _open(self, mount: ops.Mount) -> Mount | None:
        match mount:
            case ops.BindMount():
                return self._bind(mount)
            case ops.CacheMount():
                path = self._stack.enter_context(self._caches.open(mount, self._job))
                return HostMount(mount.target, (path,), readonly=mount.readonly)
            case ops.TmpfsMount():
                return MemoryMount(mount.target, mount.size_bytes or None)
            case ops.SecretMount():
                return self._secret(mount)
            case ops.SshMount():
                return self._ssh(mount)
            case _:
                assert_never(mount)

    def _bind(self, mount: ops.BindMount) -> Mount:
        services, job = self._services, self._job
        lowers = trees_of(services, job.inputs[mount.input], job.vertex) or (self._empty_directory(),)
        place = mount.source.strip("/")
        if place:
            view = services.layers.trees.stack(lowers[::-1])
            if view.lstat(resolve_path(view, place)) is None:  # a link that leads nowhere
                raise StepFailed(f'"{mount.source}": not found', code="mount-source")
        return HostMount(mount.target, lowers, place, readonly=mount.readonly, discard=True)

    def _empty_directory(self) -> str:
        """Make a directory that stands for `scratch` until the command has ended."""
        path = self._services.store.layout.scratch_path("empty")
        os.mkdir(path, 0o755)
        self._stack.callback(remove_tree, path)
        return path

    def _secret(self, mount: ops.SecretMount) -> Mount | None:
        secret = self._find_secret(mount)
        if mount.env:  # BuildKit sets it, empty, even when an optional secret was not given
            self.variables.append((mount.env, "" if secret is None else os.fsdecode(secret.value)))
        if secret is None or not mount.target:
            return None
        return FileMount(mount.target, secret.value, mount.mode, mount.uid, mount.gid)

    def _find_secret(self, mount: ops.SecretMount) -> Secret | None:
        secret = self._services.run.secrets.get(mount.id)
        if secret is None and mount.required:
            raise StepFailed(
                f"secret {mount.id}: not found",
                code="secret-missing",
                hints=(Hint.of("secret", id=mount.id),),
            )
        return secret

    def _ssh(self, mount: ops.SshMount) -> Mount | None:
        services = self._services
        agent = services.run.ssh_sockets.get(mount.id)
        if not self._ssh_named:
            self._ssh_named = True
            self.variables.append(("SSH_AUTH_SOCK", mount.target))  # even without an agent, as BuildKit does
        if agent is None:
            if not mount.required:
                return None
            raise StepFailed(
                f"unset ssh forward key {mount.id}",
                code="ssh-missing",
                hints=(Hint.of("ssh", id=mount.id),),
            )
        from firkin.builder.solve.ssh import forward

        place = services.store.layout.scratch_path("ssh")
        socket = self._stack.enter_context(forward(agent, mount, place, services.pools.agents))
        return HostMount(mount.target, (socket,), readonly=False)

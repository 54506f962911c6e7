"""Prepares builds on this container's own root, before it is replaced. Does I/O. See `rootfs.inplace`."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from firkin.builder.solve.services import Runtime
from firkin.errors import HostError
from firkin.linux.harden import OWN_DIRECTORY, list_private, load_everything
from firkin.rootfs.directory import DirectoryRootfs
from firkin.rootfs.inplace import InplaceRootfs
from firkin.sandbox.bare import BareSandbox
from firkin.sandbox.chroot import ChrootSandbox
from firkin.sandbox.launcher import current_launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firkin.builder.request import BuildRequest
    from firkin.linux.mounts import Overlay
    from firkin.oci.run import RunSpec
    from firkin.rootfs import Root
    from firkin.sandbox.result import RunResult


# CI jobs run their scripts with the executor image's own shell, before and after the build.
_SHELL = "/busybox"


class _EitherRootfs:
    """The container's own root, or a directory for an image that needs what belongs to the container."""

    def __init__(self, own: InplaceRootfs) -> None:
        self._own = own
        self._other = DirectoryRootfs()

    @contextmanager
    def open(self, lowers: tuple[str, ...], scratch: str) -> Iterator[Root]:
        """See `Rootfs.open`."""
        with ExitStack() as stack:
            root: Root
            try:
                root = stack.enter_context(self._own.open(lowers, scratch))
            except HostError as error:
                if error.code != "inplace-conflict":
                    raise
                os.mkdir(scratch, 0o755)
                root = stack.enter_context(self._other.open(lowers, scratch))
            yield root


class _EitherSandbox:
    """The sandbox that goes with the root."""

    def __init__(self, own: BareSandbox) -> None:
        self._own = own
        self._other = ChrootSandbox()

    def run(
        self,
        spec: RunSpec,
        root: Overlay | str,
        *,
        scratch: str,
        on_output: Callable[[bytes], None],
        on_error: Callable[[bytes], None] | None = None,
        cancel_fd: int | None = None,
    ) -> RunResult:
        """See `Sandbox.run`."""
        sandbox = self._own if root == "/" else self._other
        return sandbox.run(spec, root, scratch=scratch, on_output=on_output, on_error=on_error, cancel_fd=cancel_fd)


def make_inplace(request: BuildRequest, preload: Callable[[], None], *, chroot_too: bool) -> Runtime:
    """Return the root and sandbox of the executor image; `preload` reads credentials and certificates.

    With `chroot_too`, images that have files where this container has mounts or the context are built
    in a directory. Raises HostError.
    """
    launcher = current_launcher()
    load_everything()
    preload()
    context = _local_path(request.context)
    foreign = (context,) if context else ()
    private = (*request.registry.auth_files, *request.private_paths)
    inside = f"{os.path.realpath(context)}/" if context else ""
    withheld = tuple(path for path in list_private(private) if not inside or not path.startswith(inside))
    rootfs = InplaceRootfs(OWN_DIRECTORY, _kept_paths(request), withheld, foreign)
    sandbox = BareSandbox(launcher)

    def close() -> None:
        rootfs.close()
        launcher.close()

    if chroot_too:
        return Runtime(_EitherRootfs(rootfs), _EitherSandbox(sandbox), moves_caches=True, close=close)
    return Runtime(rootfs, sandbox, moves_caches=True, close=close)


def _kept_paths(request: BuildRequest) -> tuple[str, ...]:
    """Return the paths that belong to this build and must not get into an image."""
    shell = (_SHELL,) if os.path.isdir(_SHELL) else ()
    return tuple(filter(None, map(_local_path, (*_named_paths(request), *shell))))


def _named_paths(request: BuildRequest) -> Iterator[str]:
    """Yield the paths that the request names, and the addresses that may contain one."""
    yield from (request.store_root, request.context, request.dockerfile, request.cwd, request.temp_dir)
    yield from (path for _, path in request.build_contexts)
    yield from (output.dest for output in request.outputs)
    yield from (cache.ref for cache in (*request.cache_from, *request.cache_to) if cache.type == "local")
    yield from (path for _, path in request.registry.ca_files)
    for _, certificate, key in request.registry.client_certs:
        yield from (certificate, key)
    for agent in request.ssh:
        yield from agent.paths


def _local_path(text: str) -> str:
    """Return the absolute path that a context or output names, "" for none and for `/`."""
    scheme, separator, rest = text.partition("://")
    path = rest if separator and scheme in ("dir", "tar", "file", "oci-layout") else text
    if scheme == "oci-layout":
        path = path.partition("@")[0].rpartition(":")[0] or path
    return path.rstrip("/") if path.startswith("/") else ""

"""Executes RUN: the root, the mounts, the sandbox, and the changes as a new tree. Does I/O."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from firkin.builder.graph import ops
from firkin.builder.solve.cache_mounts import CacheMounts
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.ops.run_failure import Tail, fail
from firkin.builder.solve.ops.run_mounts import RunMounts
from firkin.builder.solve.services import Services
from firkin.builder.solve.view_files import read_file
from firkin.errors import DockerfileError, StepFailed
from firkin.events import Log, Warned
from firkin.hints import Hint
from firkin.layer.index import IndexWriter
from firkin.layer.scan import iter_upper_changes
from firkin.layer.view import StackView, resolve_path
from firkin.linux.mounts import Overlay
from firkin.oci.run import Mount, ResolvedUser, RunSpec, UserError, resolve_user
from firkin.oci.run_settings import DEFAULT_PATH
from firkin.rootfs import Root
from firkin.rootfs.overlay import drop_stubs
from firkin.sandbox.mounted_plan import APT_AS_ROOT
from firkin.sandbox.result import RunResult
from firkin.store.trees import StagedTree

_HOSTNAME = "buildkitsandbox"  # files that contain it should not depend on the builder


def run(services: Services, caches: CacheMounts, job: LayerJob, op: ops.Run) -> None:
    """Run the command; raises StepFailed with its exit code when it fails."""
    store, layers = services.store, services.layers
    trees = layers.trees.ensure(job.root, job.vertex)
    view = layers.trees.stack(trees)
    user = _resolve_user(op.user, view)
    with ExitStack() as stack:
        staged = stack.enter_context(store.stage_tree())
        scratch = store.layout.scratch_path("run")
        os.mkdir(scratch, 0o755)
        root = stack.enter_context(services.runtime().rootfs.open(tuple(reversed(trees)), scratch))
        _keep_mount_points(root.mount, view)
        if job.step.meta.no_cache and services.run.empties_mounts:
            for mount in op.mounts:
                if isinstance(mount, ops.CacheMount):
                    caches.empty(mount, job.inputs)
        spec = _spec(services, op, user, RunMounts(services, caches, job, op, stack))
        result = _run_in(services, job, op, spec, root, view)
        _drop_mount_points(root.mount, view, spec.mounts, owner_free=layers.owner_free)
        root.seal(staged.path, result.covered)
        _keep_attributes(staged, view, user, result, owner_free=layers.owner_free)
        staged.seal(job.layer_id)


def _resolve_user(user: str, view: StackView) -> ResolvedUser:
    """Return the numbers behind a USER. Raises DockerfileError."""
    try:
        return resolve_user(user or "0", read_file(view, "etc/passwd"), read_file(view, "etc/group"))
    except UserError as error:
        raise DockerfileError(error.message, code=error.code, hints=error.hints) from None


def _spec(services: Services, op: ops.Run, user: ResolvedUser, mounts: RunMounts) -> RunSpec:
    """Describe the command and its surroundings."""
    settings = services.run
    return RunSpec(
        argv=op.argv,
        env=_environment(op, tuple(mounts.variables), user.home),
        cwd=op.cwd,
        uid=user.uid,
        gid=user.gid,
        groups=user.groups,
        hostname=op.hostname or _HOSTNAME,
        network=settings.options.network if op.network == "default" else op.network,
        security="insecure" if op.insecure else "sandbox",
        hosts=settings.options.add_hosts,
        resolv_conf=settings.resolv_conf,
        shm_size_bytes=settings.options.shm_size_bytes,
        ulimits=settings.options.ulimits,
        mounts=mounts.mounts,
    )


def _run_in(
    services: Services, job: LayerJob, op: ops.Run, spec: RunSpec, root: Root, view: StackView
) -> RunResult:
    """Run the command in its root and emit its output; raises StepFailed or Cancelled if it fails."""
    emit, clock = services.emit, services.clock
    said = Tail(lambda data: emit(Log(clock(), job.vertex, "stdout", data)))
    errors = Tail(lambda data: emit(Log(clock(), job.vertex, "stderr", data)))
    result = services.runtime().sandbox.run(
        spec,
        root.mount,
        scratch=root.scratch,
        on_output=said,
        on_error=errors if services.run.options.split_output else None,
        cancel_fd=services.stop_fd,
    )
    for warning in result.warnings:
        emit(Warned(clock(), "run-limits", warning, job.step.meta.span))
    if result.unheard and services.layers.owner_free:
        remedy = Hint.of("host-more-ids")
        emit(Warned(clock(), "run-owners", _owners_lost(result.unheard), job.step.meta.span, remedy=remedy))
    if result.cancelled or result.exec_error is not None or result.signal or result.exit_code:
        fail(op, result, spec, view, said.end + errors.end, services.store.layout.root)
    return result


def _owners_lost(number: int) -> str:
    return (
        "owners that this step gives with `chown` are lost: there is one user id, and the kernel does not tell of such "
        f"calls ({os.strerror(number).lower()})"
    )


def _keep_attributes(
    staged: StagedTree, view: StackView, user: ResolvedUser, result: RunResult, *, owner_free: bool
) -> None:
    """Note what the tree alone cannot hold: that `/` itself changed; owners, where files cannot have them."""
    before, now = view.lstat(""), os.stat(staged.path)
    if before is not None and (before.mode, before.uid, before.gid) != (now.st_mode & 0o7777, now.st_uid, now.st_gid):
        staged.mark_root_changed()
    if owner_free:
        given = {path: (uid, gid) for path, uid, gid in result.owners}

        def owner_of(path: str, uid: int, gid: int) -> tuple[int, int]:
            # A file that was there keeps its owner when its content changes; a new one belongs to the USER.
            entry = view.lstat(path)
            usual = (user.uid, user.gid) if entry is None else (entry.uid, entry.gid)
            new = given.get(path, (-1, -1))
            return usual[0] if new[0] < 0 else new[0], usual[1] if new[1] < 0 else new[1]

        index = IndexWriter()
        for change in iter_upper_changes(staged.path, owner_of=owner_of):
            index.add(change)
        staged.write_index(index)


def _keep_mount_points(root: Overlay | str, view: StackView) -> None:
    """Make /dev, /proc and /sys where the image lacks them; unlike other mount points they stay in the layer.

    Mirrors: runc, which makes them on behalf of BuildKit (an image from scratch has them after a RUN).
    """
    place = root if isinstance(root, str) else root.upper
    for name in ("dev", "proc", "sys"):
        if view.lstat(name) is None and not os.path.lexists(f"{place}/{name}"):
            os.mkdir(f"{place}/{name}")
            os.chmod(f"{place}/{name}", 0o755)


def _drop_mount_points(
    root: Overlay | str, view: StackView, mounts: tuple[Mount, ...], *, owner_free: bool
) -> None:
    """Remove the mount points that were made in the upper directory."""
    if isinstance(root, Overlay):
        lent = "/".join(APT_AS_ROOT[:2])
        mine = (lent,) if owner_free and view.lstat(lent) is None else ()
        drop_stubs(root.upper, _absent_mount_points(view, mounts), mine)


def _absent_mount_points(view: StackView, mounts: tuple[Mount, ...]) -> Iterator[str]:
    """Yield the mount points, and the directories above them, that the image lacks; the deepest first."""
    for target in ("/etc/hosts", "/etc/resolv.conf", *(mount.target for mount in mounts)):
        path = resolve_path(view, target)
        while path and view.lstat(path) is None:
            yield path
            path = path.rpartition("/")[0]


def _environment(op: ops.Run, secrets: tuple[tuple[str, str], ...], home: str) -> tuple[tuple[str, str], ...]:
    variables: dict[str, str] = {}
    for item in (*op.proxy_env, *op.env):
        name, _, value = item.partition("=")
        variables[name] = value
    variables.setdefault("PATH", DEFAULT_PATH)
    if not variables.get("HOME"):  # an empty value counts as unset, as for runc
        variables["HOME"] = home
    for name, value in secrets:  # a name with `=` in it is cut there, as the process itself would read it
        name, _, value = f"{name}={value}".partition("=")
        variables[name] = value
    variables.pop("", None)  # no process can look it up
    for name, value in variables.items():
        if "\0" in value:
            raise StepFailed(f"the value of variable `{name}` has a NUL character", code="run-nul",
                             hints=("no environment can hold one",))  # fmt: skip
    return tuple(variables.items())

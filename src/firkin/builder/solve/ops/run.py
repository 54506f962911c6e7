"""Executes RUN: the root, the mounts, the sandbox, and the changes as a new tree. Does I/O."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from firkin.builder.graph import ops
from firkin.builder.graph.step import Step
from firkin.builder.request import Secret
from firkin.builder.solve.cache_mounts import (
    check_left,
    empty_mount,
    first_number,
    is_sound,
    mount_path,
    restore_mount,
    save_mount,
    wait_for,
)
from firkin.builder.solve.engine import Engine
from firkin.builder.solve.ops.run_failure import Tail, fail
from firkin.builder.solve.result import Result, root_of
from firkin.builder.solve.view_files import read_file
from firkin.content.snapshot import Snapshot
from firkin.errors import DockerfileError, HostError, StepFailed
from firkin.events import Log, Warned
from firkin.layer.index import IndexWriter
from firkin.layer.scan import iter_upper_changes
from firkin.layer.view import StackView, resolve_path
from firkin.linux.mounts import Overlay
from firkin.oci.digest import framed_hash
from firkin.oci.run import (
    DEFAULT_PATH,
    FileMount,
    HostMount,
    MemoryMount,
    Mount,
    Network,
    ResolvedUser,
    RunSpec,
    UserError,
    resolve_user,
)
from firkin.rootfs.overlay import drop_stubs
from firkin.sandbox.ops import APT_AS_ROOT
from firkin.sandbox.result import RunResult
from firkin.store.layout import locked, remove_tree
from firkin.store.trees import StagedTree

_HOSTNAME = "buildkitsandbox"  # what steps write down of it should not depend on the builder


def run(engine: Engine, step: Step, op: ops.Run, inputs: tuple[Result, ...], layer_id: str) -> None:
    """Run the command; raises StepFailed with its exit code when it fails."""
    vertex = str(step.id)
    trees = engine.layers.trees.ensure(root_of(inputs), vertex)
    view = engine.layers.trees.stack(trees)
    user = _resolve_user(op.user, view)
    with ExitStack() as stack:
        staged = stack.enter_context(engine.store.stage_tree())
        scratch = engine.store.layout.scratch_path("run")
        os.mkdir(scratch, 0o755)
        root = stack.enter_context(engine.runtime.rootfs.open(tuple(reversed(trees)), scratch))
        _keep_mount_points(root.mount, view)
        if step.meta.no_cache and engine.surroundings.empties_mounts:
            for mount in op.mounts:
                if isinstance(mount, ops.CacheMount):
                    empty_mount(engine, _mount_name(mount, inputs))
        mounts, variables = _mounts(engine, op, inputs, step, stack)
        described = RunSpec(
            argv=op.argv,
            env=_environment(op, variables, user.home),
            cwd=op.cwd,
            uid=user.uid,
            gid=user.gid,
            groups=user.groups,
            hostname=op.hostname or _HOSTNAME,
            network=_network(engine, op),
            security="insecure" if op.insecure else "sandbox",
            hosts=engine.surroundings.options.add_hosts,
            resolv_conf=engine.surroundings.resolv_conf,
            shm_size_bytes=engine.surroundings.options.shm_size_bytes,
            ulimits=engine.surroundings.options.ulimits,
            mounts=mounts,
        )
        said = Tail(lambda data: engine.emit(Log(engine.clock(), vertex, "stdout", data)))
        errors = Tail(lambda data: engine.emit(Log(engine.clock(), vertex, "stderr", data)))
        result = engine.runtime.sandbox.run(
            described,
            root.mount,
            scratch=root.scratch,
            on_output=said,
            on_error=errors
            if engine.surroundings.options.split_output
            else None,
            cancel_fd=engine.cancel_fd,
        )
        for warning in result.warnings:
            engine.emit(Warned(engine.clock(), "run-limits", warning, step.meta.span))
        if result.unheard and engine.layers.owner_free:
            engine.emit(Warned(engine.clock(), "run-owners", _owners_lost(result.unheard), step.meta.span))
        if result.cancelled or result.exec_error is not None or result.signal or result.exit_code:
            fail(op, result, described, view, said.end + errors.end, engine.store.layout.root)
        if isinstance(root.mount, Overlay):
            lent = "/".join(APT_AS_ROOT[:2])
            mine = (lent,) if engine.layers.owner_free and view.lstat(lent) is None else ()
            drop_stubs(root.mount.upper, _absent_mount_points(view, described.mounts), mine)
        root.seal(staged.path, result.covered)
        _keep_attributes(engine, staged, view, user, result)
        staged.seal(layer_id)


def _resolve_user(user: str, view: StackView) -> ResolvedUser:
    """Return the numbers behind a USER. Raises DockerfileError."""
    try:
        return resolve_user(user or "0", read_file(view, "etc/passwd"), read_file(view, "etc/group"))
    except UserError as error:
        raise DockerfileError(error.message, code=error.code, hints=error.hints) from None


def _owners_lost(number: int) -> str:
    return (
        "owners that this step gives with `chown` are lost: there is one user id, and the kernel does not tell of such "
        f"calls ({os.strerror(number).lower()}); `firkin info` says how to get more ids"
    )


def _keep_attributes(
    engine: Engine, staged: StagedTree, view: StackView, user: ResolvedUser, result: RunResult
) -> None:
    """Note what the tree alone does not tell: that `/` itself changed; owners, where files cannot have them."""
    before, now = view.lstat(""), os.stat(staged.path)
    if before is not None and (before.mode, before.uid, before.gid) != (now.st_mode & 0o7777, now.st_uid, now.st_gid):
        staged.mark_root_changed()
    if engine.layers.owner_free:
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


def _absent_mount_points(view: StackView, mounts: tuple[Mount, ...]) -> Iterator[str]:
    """Yield the mount points, and the directories above them, that the image lacks; the deepest first."""
    for target in ("/etc/hosts", "/etc/resolv.conf", *(mount.target for mount in mounts)):
        path = resolve_path(view, target)
        while path and view.lstat(path) is None:
            yield path
            path = path.rpartition("/")[0]


def _network(engine: Engine, op: ops.Run) -> Network:
    if op.network != "default":
        return op.network
    return engine.surroundings.options.network


def _environment(op: ops.Run, secrets: tuple[tuple[str, str], ...], home: str) -> tuple[tuple[str, str], ...]:
    variables: dict[str, str] = {}
    for item in (*op.proxy_env, *op.env):
        name, _, value = item.partition("=")
        variables[name] = value
    variables.setdefault("PATH", DEFAULT_PATH)
    if not variables.get("HOME"):  # an empty one counts for none, as it does for runc
        variables["HOME"] = home
    for name, value in secrets:  # a name with `=` in it is cut there, as the process itself would read it
        name, _, value = f"{name}={value}".partition("=")
        variables[name] = value
    variables.pop("", None)  # no process could ask for it
    for name, value in variables.items():
        if "\0" in value:
            raise StepFailed(f"the value of variable `{name}` has a NUL character", code="run-nul",
                             hints=("no environment can hold one",))  # fmt: skip
    return tuple(variables.items())


# Mounts


def _mounts(
    engine: Engine, op: ops.Run, inputs: tuple[Result, ...], step: Step, stack: ExitStack
) -> tuple[tuple[Mount, ...], tuple[tuple[str, str], ...]]:
    vertex = str(step.id)
    mounts: list[Mount] = []
    variables: list[tuple[str, str]] = []
    ssh_named = any(item.startswith("SSH_AUTH_SOCK=") for item in op.env)
    for mount in op.mounts:
        match mount:
            case ops.BindMount():
                lowers = _trees_of(engine, inputs[mount.input], vertex) or (_empty_directory(engine, stack),)
                place = mount.source.strip("/")
                if place:
                    view = engine.layers.trees.stack(lowers[::-1])
                    if view.lstat(resolve_path(view, place)) is None:  # a link that leads nowhere
                        raise StepFailed(f'"{mount.source}": not found', code="mount-source")
                mounts.append(
                    HostMount(mount.target, lowers, place, readonly=mount.readonly, discard=True)
                )
            case ops.CacheMount():
                path = stack.enter_context(_cache_directory(engine, mount, inputs, step))
                mounts.append(HostMount(mount.target, (path,), readonly=mount.readonly))
            case ops.TmpfsMount():
                mounts.append(MemoryMount(mount.target, mount.size_bytes or None))
            case ops.SecretMount():
                secret = _secret(engine, mount)
                if secret is not None and mount.target:
                    mounts.append(
                        FileMount(mount.target, secret.value, mount.mode, mount.uid, mount.gid)
                    )
                if mount.env:  # BuildKit sets it, empty, even when an optional secret was not given
                    variables.append((mount.env, "" if secret is None else os.fsdecode(secret.value)))
            case ops.SshMount():
                agent = engine.surroundings.ssh_sockets.get(mount.id)
                if not ssh_named:
                    ssh_named = True
                    variables.append(("SSH_AUTH_SOCK", mount.target))  # even without an agent, as BuildKit does
                if agent is None:
                    if mount.required:
                        raise StepFailed(
                            f"unset ssh forward key {mount.id}",
                            code="ssh-missing",
                            hints=(f"pass an agent with `--ssh {mount.id}`",),
                        )
                    continue
                from firkin.builder.solve.ssh import forward

                place = engine.store.layout.scratch_path("ssh")
                socket = stack.enter_context(forward(agent, mount, place, engine.pools.agents))
                mounts.append(HostMount(mount.target, (socket,), readonly=False))
    for path, content, mode in op.files:
        mounts.append(FileMount(path, content.encode("utf-8", "surrogateescape"), mode))
    return tuple(mounts), tuple(variables)


def _trees_of(engine: Engine, source: Result, vertex: str) -> tuple[str, ...]:
    """Return the layer directories of a mount's source, from the top down."""
    if isinstance(source, Snapshot):
        return tuple(reversed(engine.layers.trees.ensure(source, vertex)))
    from firkin.builder.solve.ops.copy import materialize

    return (materialize(engine, source),)


def _empty_directory(engine: Engine, stack: ExitStack) -> str:
    """Make a directory that stands for `scratch` until the command has ended."""
    path = engine.store.layout.scratch_path("empty")
    os.mkdir(path, 0o755)
    stack.callback(remove_tree, path)
    return path


def _secret(engine: Engine, mount: ops.SecretMount) -> Secret | None:
    secret = engine.surroundings.secrets.get(mount.id)
    if secret is None and mount.required:
        raise StepFailed(
            f"secret {mount.id}: not found",
            code="secret-missing",
            hints=(f"pass it with `--secret id={mount.id},src=FILE` or `--secret id={mount.id},env=NAME`",),
        )
    return secret


def _mount_name(mount: ops.CacheMount, inputs: tuple[Result, ...]) -> str:
    """Return the name of a cache mount's directory.

    Owner, mode and origin belong to its identity, as in BuildKit: mounts that ask for different ones
    get different directories.
    """
    source = None if mount.input < 0 else inputs[mount.input]
    origin = source.identity if isinstance(source, Snapshot) else "" if source is None else "files"
    identity = (mount.id, f"{mount.mode:o}:{mount.uid}:{mount.gid}", origin, mount.source if origin else "")
    return framed_hash(part.encode() for part in identity)


@contextmanager
def _cache_directory(
    engine: Engine, mount: ops.CacheMount, inputs: tuple[Result, ...], step: Step
) -> Iterator[str]:
    """Yield the directory of a cache mount, made on first use; held according to its sharing."""
    base = _mount_name(mount, inputs)
    source = None if mount.input < 0 else inputs[mount.input]
    number = first_number(engine, base)
    while True:
        path = mount_path(engine, base, number)
        descriptor = os.open(path + ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if mount.sharing == "shared" and not engine.runtime.moves_caches:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            elif mount.sharing == "private":
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                wait_for(engine, descriptor)
            break
        except BlockingIOError:  # private, and in use: take one of our own
            os.close(descriptor)
            number += 1
        except BaseException:
            os.close(descriptor)
            raise
    try:
        if not is_sound(path):
            with locked(path + ".new"):
                if not is_sound(path):
                    _new_cache_directory(engine, path, base, mount, source, str(step.id))
        if engine.remote is not None and not mount.readonly:
            title = public_id(mount, step.meta.written)
            engine.remote.use_mount(base, title, lambda ref: save_mount(engine, mount.id, path, ref))
        os.utime(path + ".lock")  # when it was last of use, for `firkin prune`
        try:
            yield f"{path}/fs"
        finally:
            check_left(engine, mount.id, path)
    finally:
        os.close(descriptor)


def public_id(mount: ops.CacheMount, written: str) -> str:
    """Return a cache mount's id as other machines may see it: as it is written, or not at all.

    Where variables make it, it tells values of build arguments.
    """
    own = mount.id.partition("/")[2]  # without the namespace, which is a build argument
    return own if own in written else "(its id is made of variables)"


def _new_cache_directory(
    engine: Engine, path: str, name: str, mount: ops.CacheMount, source: Result | None, vertex: str
) -> None:
    remove_tree(path)  # what is left when a command and all that watched it were killed at once, or a link
    staged = engine.store.layout.scratch_path("mount")
    os.makedirs(f"{staged}/fs")
    with open(f"{staged}/id", "w", encoding="utf-8") as file:
        file.write(mount.id)
    kept = engine.remote is not None and name not in engine.emptied
    restored = kept and restore_mount(engine, name, mount.id, f"{staged}/fs", vertex)
    mode, uid, gid = mount.mode, mount.uid, mount.gid
    if source is not None and mode < 0:
        from firkin.builder.solve.ops.copy import copy_subtree

        trees = _trees_of(engine, source, vertex)
        if not restored:
            copy_subtree(engine, trees, mount.source, f"{staged}/fs")
        view = engine.layers.trees.stack(tuple(reversed(trees)))
        top = view.lstat(resolve_path(view, mount.source))
        mode, uid, gid = (0o755, 0, 0) if top is None else (top.mode, top.uid, top.gid)
    try:
        if not engine.layers.owner_free:  # with one id a command has it, whatever its USER, and may do everything
            os.chown(f"{staged}/fs", uid, gid)
    except OSError as error:
        raise HostError(
            f"cannot give the cache mount to {uid}:{gid}: {(error.strerror or '').lower()}",
            code="cache-mount-owner",
            hints=("this needs root, or subordinate ids: see `firkin info`",),
        ) from error
    os.chmod(f"{staged}/fs", mode)
    os.rename(staged, path)

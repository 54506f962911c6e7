"""Runs a container where nothing may be mounted or unshared, as in many CI jobs: by chroot, in a copy. Does I/O.

The command has a copy of the image's files as its root, which is thrown away at its end, and this machine's network.
There is no monitor: it lives as long as who called. What cannot be had that way is refused. It is the same in the
executor image: a build may take the place of the root there, alone and until it ends, but two containers could not,
and whoever calls would be replaced under its feet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import msgspec

from firkin.errors import ContainerError
from firkin.hints import Hint

if TYPE_CHECKING:
    from firkin.containers.documents.config import Config, HostConfig
    from firkin.containers.documents.record import Record
    from firkin.containers.home.engine import Engine
    from firkin.linux.beneath import Beneath
    from firkin.oci.run import RunSpec
    from firkin.sandbox.result import RunResult

_NOT_FOUND, _CANNOT_RUN = 127, 126
_NO_FILE = 2  # ENOENT
_SHM_BYTES = 64 << 20  # unless something else is asked for
_MOST_BYTES = 16 << 20  # of a passwd or group file


def check_foreground(
    config: Config, host: HostConfig, *, detached: bool = False, policy: str = "refuse"
) -> tuple[str, ...]:
    """Raise ContainerError (`unsupported`) for the first thing that such a container cannot have.

    With the policy "warn" limits are no such thing; returned are warnings about them.
    """
    limits = tuple(what for what, asked in _limits(host) if asked)
    refused = limits if policy == "refuse" else ()
    absent = (what for what, asked in (("a container in the background", detached), *_absent(config, host)) if asked)
    for what in (*refused, *absent):
        raise _cannot_have(what)
    return tuple(f"This machine allows neither mounts nor namespaces, so it has not {what}." for what in limits)


def refuse_start() -> NoReturn:
    """Raise ContainerError (`unsupported`): `start` has no files to go on with."""
    raise _cannot_have("a container that is started after it was made")


def _cannot_have(what: str) -> ContainerError:
    return ContainerError(
        f"{what} cannot be had here: this machine allows neither mounts nor namespaces",
        kind="unsupported", code="no-rights", exit_code=125, hints=(Hint.of("host-lacks"),),
    )  # fmt: skip


def _absent(config: Config, host: HostConfig) -> Iterator[tuple[str, bool]]:
    yield "a terminal", config.tty
    yield "a network of its own", host.network_mode not in ("default", "bridge", "host", "")
    yield "a volume or a mount", any((host.binds, host.mounts, host.tmpfs, host.volumes_from))
    yield "another container's or the machine's namespace", any(
        mode not in ("", "private", "shareable") for mode in (host.pid_mode, host.ipc_mode, host.uts_mode)
    )
    yield "a device", any((host.devices, host.device_requests, host.device_cgroup_rules))
    yield from _absent_settings(config, host)
    yield "a privileged container", host.privileged
    yield "a read-only root", host.readonly_rootfs
    yield "a setting of the kernel", bool(host.sysctls)
    yield "an init process", bool(host.init)
    yield "another set of capabilities", any((host.cap_add, host.cap_drop))
    yield "a restart policy", host.restart_policy.name not in ("", "no")


def _limits(host: HostConfig) -> Iterator[tuple[str, bool]]:
    yield "a limit of memory", any((host.memory, host.memory_swap, host.memory_reservation))
    yield "a limit of processor time", any(
        (host.nano_cpus, host.cpu_shares, host.cpu_quota, host.cpu_period, host.cpuset_cpus, host.cpuset_mems)
    )
    yield "a limit of processes", (host.pids_limit or 0) > 0
    yield "a limit of real-time processes", any((host.cpu_realtime_period, host.cpu_realtime_runtime))
    yield "a limit of block I/O", any(
        (host.blkio_weight, host.blkio_weight_device, host.blkio_device_read_bps, host.blkio_device_write_bps,
         host.blkio_device_read_iops, host.blkio_device_write_iops)
    )  # fmt: skip
    yield "a way of swapping out", host.memory_swappiness not in (None, -1)
    yield "a limit without the OOM killer", bool(host.oom_kill_disable)
    yield "an OOM score", bool(host.oom_score_adj)
    yield "a control group", bool(host.cgroup_parent)


def _absent_settings(config: Config, host: HostConfig) -> Iterator[tuple[str, bool]]:
    yield "shared memory of another size", host.shm_size not in (0, _SHM_BYTES)
    yield "further groups", bool(host.group_add)
    yield "a host name of its own", config.hostname not in ("", os.uname().nodename)
    # `unconfined` asks for less than there is.
    yield "a security option", any(not text.endswith("unconfined") for text in host.security_opt or ())


def run_foreground(
    engine: Engine,
    id: str,
    *,
    stdin: int | None,
    on_output: Callable[[bytes], None],
    on_error: Callable[[bytes], None],
    cancel_fd: int | None = None,
) -> int:
    """Run a container that was created, and return its exit code. It is held, and removed if that was asked for.

    `cancel_fd` readable: it is killed. Raises ContainerError: `conflict` if it was started before, else with 125, 126
    or 127 as its exit code; HostError.
    """
    from firkin.containers.documents.lifecycle import status_of

    with engine.home.locked(id):
        record, state = engine.home.record(id), engine.home.state(id)
        if status_of(state) != "created":
            raise ContainerError(
                f"container {id} has run: without mounts its files are not kept, so it cannot run again",
                kind="conflict", code="no-rights",
            )  # fmt: skip
        config = record.config
        if config.hostname == record.id[:12]:  # nobody asked for it
            config = msgspec.structs.replace(config, hostname="")
        check_foreground(config, record.host_config, policy=record.limits)
        try:
            return _run(engine, record, stdin, on_output, on_error, cancel_fd)
        finally:
            if record.host_config.auto_remove:
                from firkin.containers.remove import finish_removal

                finish_removal(engine, id, volumes=True)


def _run(
    engine: Engine,
    record: Record,
    stdin: int | None,
    on_output: Callable[[bytes], None],
    on_error: Callable[[bytes], None],
    cancel_fd: int | None,
) -> int:
    from firkin.containers.documents.record import State
    from firkin.containers.home.times import now_text
    from firkin.sandbox.chroot import ChrootSandbox

    with _copied(engine, record) as (root, scratch):
        spec = _spec(record, root, engine.home.directory(record.id))
        began = now_text()
        engine.container_event("start", record)
        result = ChrootSandbox().run(
            spec, root, scratch=scratch, on_output=on_output, on_error=on_error, cancel_fd=cancel_fd, stdin=stdin
        )
    code = 128 + result.signal if result.signal else result.exit_code
    if result.exec_error is not None:
        raise _cannot_run(result, spec)
    engine.home.write_state(record.id, msgspec.structs.replace(
        State(), started_at=began, finished_at=now_text(), exit_code=code,
    ))  # fmt: skip
    engine.container_event("die", record, {"exitCode": str(code)})
    return code


@contextmanager
def _copied(engine: Engine, record: Record) -> Iterator[tuple[str, str]]:
    """Yield a directory with a copy of the image's files, and an empty one beside it."""
    from firkin.rootfs.directory import DirectoryRootfs

    with engine.store() as store:
        scratch = store.layout.scratch_path("run")
        os.mkdir(scratch, 0o755)
        trees = tuple(f"{engine.root}/trees/{tree}/fs" for tree in record.trees)
        with DirectoryRootfs().open(trees, scratch) as root:
            yield root.mount, root.scratch


def _spec(record: Record, root: str, home: str) -> RunSpec:
    """Return what runs: the user and the working directory are looked up in the root."""
    from firkin.containers.planning.plan import environment
    from firkin.linux.beneath import Beneath
    from firkin.oci.run import RunSpec, UserError, resolve_user
    from firkin.oci.run_settings import Ulimit

    config, host = record.config, record.host_config
    cwd = config.working_dir or "/"
    with Beneath(root) as inside:
        # Anonymous volumes end with the container, as this root does.
        for name in ("dev", "proc", "sys", cwd, *(config.volumes or {})):
            os.close(inside.make_directories(name))
        try:
            user = resolve_user(config.user or "0", _read(inside, "etc/passwd"), _read(inside, "etc/group"))
        except UserError as error:
            raise ContainerError(error.message, kind="invalid", code=error.code, exit_code=125) from None
    env = environment(record)
    env.setdefault("HOME", user.home)
    return RunSpec(
        argv=(record.path, *record.args),
        hostname=config.hostname or record.id[:12],
        env=tuple(env.items()),
        cwd=cwd,
        uid=user.uid,
        gid=user.gid,
        groups=user.groups,
        network="host",
        hosts=tuple((name, address) for name, _, address in map(_host, host.extra_hosts or ())),
        resolv_conf=_resolv_conf(home),
        ulimits=tuple(Ulimit(limit.name, limit.soft, limit.hard) for limit in host.ulimits or ()),
    )


def _host(text: str) -> tuple[str, str, str]:
    return text.partition(":")


def _resolv_conf(home: str) -> bytes:
    try:
        with open(f"{home}/resolv.conf", "rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return b""


def _read(inside: Beneath, path: str) -> bytes:
    try:
        return inside.read(path, _MOST_BYTES)
    except OSError:
        return b""


def _cannot_run(result: RunResult, spec: RunSpec) -> ContainerError:
    error = result.exec_error
    assert error is not None
    missing = error.errno == _NO_FILE
    looked_up = missing and "/" not in spec.argv[0]
    said = "executable file not found in $PATH" if looked_up else os.strerror(error.errno).lower()
    return ContainerError(
        f'exec: "{spec.argv[0]}": {said}',
        kind="invalid", code="container-exec", exit_code=_NOT_FOUND if missing else _CANNOT_RUN,
    )  # fmt: skip

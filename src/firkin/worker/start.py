"""The fork of a worker, seen from outside: the process that finds the backend and writes the id maps. Does I/O.

Only the process outside may write the maps, so it lives as long as the worker. `worker.client`, `python -m
firkin.worker` and commands that work in a build's namespaces import this module.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from firkin.builder.request import BuildRequest, check_request
from firkin.errors import HostError, StoreError
from firkin.hints import Hint
from firkin.worker.messages import Decision, failure_of

if TYPE_CHECKING:
    from firkin.backend import Backend, Isolation
    from firkin.linux.enter import NamespacePlan
    from firkin.worker.server import Build

_encoder = msgspec.json.Encoder()


def find_backend(
    store_root: str, isolation: Isolation, credentials: tuple[str, ...] = (), needed: tuple[str, ...] = ()
) -> Backend | HostError:
    """Return the backend of RUN steps on this machine, or the error that says why there is none.

    `credentials` are paths of files that no step may read; `needed` are those of them that must stay. A build
    without RUN steps works without a backend. Needs a process with one thread. Raises HostError when the machine
    lacks the isolation that was asked for, StoreError when the store cannot be made.
    """
    from firkin.backend import Requirements, choose_backend
    from firkin.linux.harden import find_exposed, in_executor_image
    from firkin.linux.probe import probe_host, user_name
    from firkin.store.layout import check_owner

    try:
        os.makedirs(store_root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the store {store_root}: {(error.strerror or '').lower()}",
            hints=(Hint.of("store-place"),),
        ) from error
    check_owner(store_root)
    try:
        inplace = in_executor_image()
        requirements = Requirements(isolation, inplace, find_exposed(credentials, needed) if inplace else ())
        return choose_backend(probe_host(user=user_name(), trial_dir=store_root), requirements)
    except HostError as error:
        if isolation != "auto":
            raise
        return error


def start_worker(
    request: BuildRequest, events: int, *, prepare: Callable[[], None] | None = None, build: Build | None = None
) -> int:
    """Fork a worker that writes to `events`, bring it into its namespaces, and return its pid.

    The worker imports the engine while this process finds the backend. It first calls `prepare`. Needs a process with
    one thread. Raises FirkinError; then the worker is gone.
    """
    from firkin.linux.enter import admit, open_channel

    check_request(request)
    # The parent may ignore SIGCHLD (`trap '' CHLD`), and exec keeps that: then no child could be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker_side, own_side = open_channel()
    decision_read, decision_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            own_side.close()
            os.close(decision_write)
            if prepare is not None:
                prepare()
            from firkin.worker.server import work

            code = work(request, events, decision_read, worker_side, build)
        finally:
            os._exit(code)
    worker_side.close()
    os.close(decision_read)
    try:
        plan, decision = _decide(request)
        try:
            os.write(decision_write, _encoder.encode(decision))
        except BrokenPipeError:
            pass  # the worker has ended already; its last line says why
        os.close(decision_write)
        admit(pid, plan, own_side)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return pid


def _decide(request: BuildRequest) -> tuple[NamespacePlan, Decision]:
    """Find the backend of a request, and protect this process from what will run in it."""
    from firkin.linux.enter import NamespacePlan
    from firkin.linux.harden import hide_process, load_everything

    keys = tuple(key for _, _, key in request.registry.client_certs)  # read whenever a connection is made
    private = (*request.registry.auth_files, *request.private_paths, *keys)
    backend = find_backend(request.store_root, request.isolation, private, (request.context, *keys))
    if isinstance(backend, HostError):
        return NamespacePlan(mount=False), Decision(missing=failure_of(backend))
    if backend.shares_processes:
        hide_process()
    if backend.sandbox == "bare":
        # Steps may change firkin's files: load now what this process may need afterwards.
        load_everything(("cli", "render"))
    return backend.enter, Decision(backend=msgspec.Raw(_encoder.encode(backend)))

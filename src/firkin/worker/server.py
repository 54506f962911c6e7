"""The worker: enters its namespaces, builds, and writes events and the last line. Does I/O.

`work` runs in the fork that `worker.start` makes. Secrets travel in memory or through the pipe, never in argv.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from firkin.builder.request import BuildRequest, BuildResult
from firkin.decode import decode_json
from firkin.errors import FirkinError
from firkin.events import Event, encode_line
from firkin.worker.messages import INPLACE_GRACE_S, STOPPING, Decision, Line, Success, error_of, failure_of

if TYPE_CHECKING:
    from types import FrameType

    from firkin.backend import Backend
    from firkin.linux.enter import Channel
    from firkin.tasks.cancel import Cancel

# The engine: a function of the request, emit, cancel, and a function that returns RUN's backend or raises HostError.
Build = Callable[[BuildRequest, Callable[[Event], None], "Cancel", Callable[[], "Backend"]], BuildResult]


def work(request: BuildRequest, events: int, decision_read: int, channel: Channel, build: Build | None) -> int:
    """Be the worker; return its exit code."""
    cancel = _listen()
    _keep_descriptors()
    try:
        build = build or load_engine()
        with open(decision_read, "rb") as stream:
            decision = decode_json(stream.read(), Decision)
        request, backend = _enter(request, decision, channel)
        inplace = not isinstance(backend, FirkinError) and backend.sandbox == "bare"
        _start_unpacker(request, at_once=inplace)
    except BaseException as error:  # noqa: BLE001  the worker's top: any failure becomes the last line
        failure = failure_of(error)
        os.write(events, encode_line(failure) + b"\n")
        return failure.exit_code

    def chosen() -> Backend:
        if isinstance(backend, FirkinError):
            raise backend
        return backend

    return serve(request, events, chosen, build, cancel, inplace=inplace)


def _enter(
    request: BuildRequest, decision: Decision, channel: Channel
) -> tuple[BuildRequest, Backend | FirkinError]:
    """Enter the chosen namespaces, and protect this process from what will run there.

    Returns the request as this backend can build it, and the backend, or the error that says why there is none.
    """
    from firkin.backend import Backend
    from firkin.linux.enter import NamespacePlan, enter

    if decision.missing is not None:
        enter(NamespacePlan(mount=False), channel)
        return request, error_of(decision.missing)
    backend = decode_json(decision.backend, Backend)
    enter(backend.enter, channel)
    if backend.shares_processes:
        from firkin.linux.harden import hide_process

        hide_process()
    if backend.sandbox == "bare":
        from firkin.sandbox.launcher import start_launcher

        start_launcher()
        request = _without_foreign_helpers(request)
    return request, backend


def _start_unpacker(request: BuildRequest, *, at_once: bool) -> None:
    """Fork the process that unpacks layers, while this one has one thread."""
    if request.call == "build":
        from firkin.layer.confined import start_confined

        start_confined(at_once=at_once)


def _keep_descriptors() -> None:
    """Let no command inherit the caller's open descriptors: with one of a directory it could leave its root."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass  # this descriptor was the listing's, which is closed by now


def _without_foreign_helpers(request: BuildRequest) -> BuildRequest:
    """Look for credential helpers in firkin's own directory only: files elsewhere may soon be the image's."""
    from firkin.linux.harden import OWN_DIRECTORY

    own = [part for part in request.registry.helper_path.split(":") if f"{part}/".startswith(OWN_DIRECTORY + "/")]
    registry = msgspec.structs.replace(request.registry, helper_path=":".join(own) or OWN_DIRECTORY)
    return msgspec.structs.replace(request, registry=registry)


def _listen() -> Cancel:
    """Return a Cancel that SIGTERM and SIGINT set from now on; signals blocked until now are delivered now."""
    from firkin.tasks.cancel import Cancel

    cancel = Cancel()

    def stop(number: int, frame: FrameType | None) -> None:
        cancel.set(number)

    for number in STOPPING:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    return cancel


def serve(
    request: BuildRequest,
    descriptor: int,
    backend: Callable[[], Backend],
    build: Build,
    cancel: Cancel,
    *,
    inplace: bool = False,
) -> int:
    """Build in this process, write every event and the last line to `descriptor`, return the exit code.

    SIGTERM and SIGINT set `cancel`, which stops the build. linux/ending.py ends what does not stop; `inplace` gives the
    build time to put the container's own root back.
    """
    from firkin.linux.ending import PATIENCE_S, watch
    from firkin.linux.syscalls import set_parent_death_signal

    watch(INPLACE_GRACE_S - 1 if inplace else PATIENCE_S, cancel.signal)

    # Set here and not earlier: entering a user namespace clears this.
    set_parent_death_signal(signal.SIGKILL)
    stream = EventStream(descriptor, cancel)
    try:
        result = build(request, stream.emit, cancel, backend)
    except BaseException as error:  # noqa: BLE001  the worker's top: any failure becomes the last line
        failure = failure_of(error)
        stream.write(failure)
        return failure.exit_code
    stream.write(Success(result))
    return 0


def load_engine() -> Build:
    """Import the engine and return the function that answers a request."""
    gc.disable()
    # This import loads everything heavy; the front never does it.
    from firkin.builder.build import run_build

    gc.freeze()  # what was loaded stays: nothing of it is ever garbage
    gc.enable()

    def run(
        request: BuildRequest, emit: Callable[[Event], None], cancel: Cancel, backend: Callable[[], Backend]
    ) -> BuildResult:
        if request.call != "build":
            from firkin.builder.check import run_call

            return run_call(request, emit, cancel, backend)
        if request.verify:
            from firkin.builder.verify import run_verify

            return run_verify(request, emit, cancel, backend)
        return run_build(request, emit, cancel, backend)

    return run


class EventStream:
    """Writes whole lines, from any thread. Stops the build when nobody reads them any more."""

    def __init__(self, descriptor: int, cancel: Cancel) -> None:
        from threading import Lock

        self._descriptor = descriptor
        self._cancel = cancel
        self._lock = Lock()

    def emit(self, event: Event) -> None:
        """Write an event; never raises."""
        self.write(event)

    def write(self, line: Line) -> None:
        data = encode_line(line) + b"\n"
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError:
            self._cancel.set(signal.SIGPIPE)

"""The process boundary: a request in, events and one last line out, as JSON lines. I; `api` and `cli` may import it.

The last line is a Success or a Failure (docs/dev/events.md). `serve` runs in a fork of the command
line; `python -m firkin.worker` reads the request from standard input and writes to standard output,
for the Python API. Secrets travel in memory or through the pipe, never in argv.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from firkin import errors
from firkin.builder.request import BuildRequest, BuildResult, check_request, decode_request
from firkin.decode import decode_json, json_decoder
from firkin.errors import Cancelled, FirkinError, HostError, InternalError, RegistryError, StoreError, cause_texts
from firkin.events import Event, encode_line
from firkin.source import Source, Span
from firkin.text import hide_passwords

if TYPE_CHECKING:
    from types import FrameType

    from firkin.backend import Backend, Isolation
    from firkin.linux.enter import Channel
    from firkin.tasks.cancel import Cancel

# The engine: request, emit, cancel, and the way RUN steps go (raises HostError where there is none).
Build = Callable[[BuildRequest, Callable[[Event], None], "Cancel", Callable[[], "Backend"]], BuildResult]



class Failure(msgspec.Struct, frozen=True, tag_field="event", tag="error"):
    """The last line of a build that failed. `kind` is a class of firkin.errors."""

    kind: str
    message: str
    code: str
    exit_code: int
    hints: tuple[str, ...] = ()
    span: Span | None = None
    source: Source | None = None
    causes: tuple[str, ...] = ()
    method: str = ""
    url: str = ""
    status: int = 0
    temporary: bool = False
    traceback: str = ""


class Success(msgspec.Struct, frozen=True, tag_field="event", tag="result"):
    """The last line of a build that succeeded."""

    result: BuildResult


Line = Event | Failure | Success
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Line] = json_decoder(Line)


def decode_line(line: bytes) -> Line:
    """Read one line of a worker. Raises msgspec.ValidationError for anything else."""
    return _decoder.decode(line)


def failure_of(error: BaseException) -> Failure:
    """Return what a worker says of an error; one that is not a FirkinError is a fault of firkin's own."""
    known = _as_firkin_error(error)
    request = known if isinstance(known, RegistryError) else None
    return Failure(
        kind=type(known).__name__,
        message=known.message,
        code=known.code,
        exit_code=known.exit_code,
        hints=known.hints,
        span=known.span,
        causes=cause_texts(known),
        method=request.method if request else "",
        url=request.url if request else "",
        status=request.status if request else 0,
        temporary=request.temporary if request else False,
        traceback=_traceback(error),
    )


def error_of(failure: Failure) -> FirkinError:
    """Return the error that a Failure tells of, of the same class and with its causes."""
    kind = getattr(errors, failure.kind, FirkinError)
    error: FirkinError
    if kind is InternalError:
        error = InternalError(failure.message, traceback=failure.traceback, hints=failure.hints)
    elif kind is RegistryError:
        error = RegistryError(
            failure.message, code=failure.code, exit_code=failure.exit_code, hints=failure.hints, span=failure.span,
            method=failure.method, url=failure.url, status=failure.status, temporary=failure.temporary,
        )  # fmt: skip
    else:
        error = kind(
            failure.message, code=failure.code, exit_code=failure.exit_code, hints=failure.hints, span=failure.span
        )
    below: BaseException = error
    for text in failure.causes:
        below.__cause__ = FirkinError(text)
        below = below.__cause__
    return error


def choose_way(
    store_root: str, isolation: Isolation, credentials: tuple[str, ...] = (), needed: tuple[str, ...] = ()
) -> Backend | HostError:
    """Return how RUN steps are to run on this machine, or why there is no way.

    `credentials` are places of files that no step may read, `needed` those that have to stay. A build
    without RUN steps works all the same. Needs a process with one thread. Raises HostError when a way was
    asked for that cannot be had.
    """
    from firkin.backend import Wishes, choose_backend
    from firkin.linux.harden import find_exposed, in_executor_image
    from firkin.linux.probe import probe_host
    from firkin.store.layout import check_owner

    try:
        os.makedirs(store_root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the store {store_root}: {(error.strerror or '').lower()}",
            hints=("`--root DIR` or FIRKIN_ROOT names another place",),
        ) from error
    check_owner(store_root)
    try:
        inplace = in_executor_image()
        wishes = Wishes(isolation, inplace, find_exposed(credentials, needed) if inplace else ())
        return choose_backend(probe_host(user=_user_name(), trial_dir=store_root), wishes)
    except HostError as error:
        if isolation != "auto":
            raise
        return error


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


class _Decision(msgspec.Struct, frozen=True):
    """What the process outside tells the worker of `choose_way`."""

    backend: msgspec.Raw = msgspec.Raw(b"null")
    missing: Failure | None = None


def start_worker(
    request: BuildRequest, events: int, *, prepare: Callable[[], None] | None = None, build: Build | None = None
) -> int:
    """Fork a worker that writes to `events`, see it into its namespaces and return its pid.

    The worker imports the engine while this process finds out how RUN steps can run. `prepare` is
    called in the worker first. Needs a process with one thread. Raises FirkinError; then the worker is
    gone.
    """
    from firkin.linux.enter import NamespacePlan, admit, open_channel

    check_request(request)
    # Who started us may ignore it (`trap '' CHLD`), and exec keeps that: then nobody could be waited for.
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
            code = _work(request, events, decision_read, worker_side, build)
        finally:
            os._exit(code)
    worker_side.close()
    os.close(decision_read)
    try:
        keys = tuple(key for _, _, key in request.registry.client_certs)  # read whenever a connection is made
        private = (*request.registry.auth_files, *request.private_paths, *keys)
        way = choose_way(request.store_root, request.isolation, private, (request.context, *keys))
        if not isinstance(way, HostError):
            _guard(way)
            if way.sandbox == "bare":
                from firkin.linux.harden import load_everything

                # What this process may need when steps have had the chance to change firkin's files.
                load_everything(("cli", "render"))
        if isinstance(way, HostError):
            plan, decision = NamespacePlan(mount=False), _Decision(missing=failure_of(way))
        else:
            plan, decision = way.enter, _Decision(backend=msgspec.Raw(_encoder.encode(way)))
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


def _work(request: BuildRequest, events: int, decision_read: int, channel: Channel, build: Build | None) -> int:
    """Be the worker; return its exit code."""
    cancel = _listen()
    _keep_descriptors()
    try:
        from firkin.backend import Backend
        from firkin.linux.enter import NamespacePlan, enter

        build = build or _engine()
        with open(decision_read, "rb") as stream:
            decision = decode_json(stream.read(), _Decision)
        if decision.missing is None:
            backend = decode_json(decision.backend, Backend)
            enter(backend.enter, channel)
            _guard(backend)
            if backend.sandbox == "bare":
                from firkin.sandbox.launcher import start_launcher

                start_launcher()
                request = _without_foreign_helpers(request)
            _start_unpacker(request, at_once=backend.sandbox == "bare")
            return serve(request, events, lambda: backend, build, cancel, inplace=backend.sandbox == "bare")
        enter(NamespacePlan(mount=False), channel)
        _start_unpacker(request, at_once=False)
        missing = error_of(decision.missing)
    except BaseException as error:  # noqa: BLE001  the worker's top: whatever happened is the last line
        failure = failure_of(error)
        os.write(events, encode_line(failure) + b"\n")
        return failure.exit_code

    def refuse() -> Backend:
        raise missing

    return serve(request, events, refuse, build, cancel)


def _start_unpacker(request: BuildRequest, *, at_once: bool) -> None:
    """Fork the process that unpacks layers, while this one has one thread."""
    if request.call == "build":
        from firkin.layer.confined import start_confined

        start_confined(at_once=at_once)


def _keep_descriptors() -> None:
    """Let no command inherit what our caller left open: a directory's descriptor leads out of any root."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass  # it was the listing's own


def _guard(backend: Backend) -> None:
    """Keep steps that share our process list, or even our root, from looking into this process."""
    if backend.sandbox == "namespaces" and backend.fresh_proc:
        return
    from firkin.linux.harden import hide_process

    hide_process()


def _without_foreign_helpers(request: BuildRequest) -> BuildRequest:
    """Look for credential helpers in firkin's own directory only: the others may soon be the image's."""
    from firkin.linux.harden import OWN_DIRECTORY

    own = [part for part in request.registry.helper_path.split(":") if f"{part}/".startswith(OWN_DIRECTORY + "/")]
    registry = msgspec.structs.replace(request.registry, helper_path=":".join(own) or OWN_DIRECTORY)
    return msgspec.structs.replace(request, registry=registry)


_STOPPING = (signal.SIGTERM, signal.SIGINT)
INPLACE_GRACE_S = 20.0
"""How long a build that was told to stop may put the root of the executor image back."""


def _listen() -> Cancel:
    """Return what SIGTERM and SIGINT set from now on; those that came while they were held back come now."""
    from firkin.tasks.cancel import Cancel

    cancel = Cancel()

    def stop(number: int, frame: FrameType | None) -> None:
        cancel.set(number)

    for number in _STOPPING:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    return cancel


def serve(
    request: BuildRequest,
    descriptor: int,
    way: Callable[[], Backend],
    build: Build,
    cancel: Cancel,
    *,
    inplace: bool = False,
) -> int:
    """Build in this process, write every event and the last line to `descriptor`, return the exit code.

    `cancel`, which SIGTERM and SIGINT set, stops the build. What does not stop is ended (linux/ending.py); `inplace`
    gives it the time to put the container's own root back.
    """
    from firkin.linux.ending import PATIENCE_S, watch
    from firkin.linux.syscalls import set_parent_death_signal

    watch(INPLACE_GRACE_S - 1 if inplace else PATIENCE_S, cancel.signal)

    # Set here and not earlier: entering a user namespace clears it.
    set_parent_death_signal(signal.SIGKILL)
    stream = EventStream(descriptor, cancel)
    try:
        result = build(request, stream.emit, cancel, way)
    except BaseException as error:  # noqa: BLE001  the worker's top: whatever happened is the last line
        failure = failure_of(error)
        stream.write(failure)
        return failure.exit_code
    stream.write(Success(result))
    return 0


def _engine() -> Build:
    # Everything heavy is behind this import; the front never does it.
    from firkin.builder.build import run_build

    def run(
        request: BuildRequest, emit: Callable[[Event], None], cancel: Cancel, way: Callable[[], Backend]
    ) -> BuildResult:
        if request.call != "build":
            from firkin.builder.check import run_call

            return run_call(request, emit, cancel, way)
        if request.verify:
            from firkin.builder.verify import run_verify

            return run_verify(request, emit, cancel, way)
        return run_build(request, emit, cancel, way)

    return run


class EventStream:
    """Writes lines whole, from any thread. When nobody reads any more, the build is stopped."""

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


def _as_firkin_error(error: BaseException) -> FirkinError:
    if isinstance(error, FirkinError):
        return error
    known: FirkinError
    if isinstance(error, KeyboardInterrupt):
        known = Cancelled("the build was cancelled")
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" ({error.filename})" if error.filename else ""
        known = StoreError(
            f"no space left on device{place}",
            code="disk-full",
            hints=("`firkin prune` frees what is not in use; `--root DIR` moves the store",),
        )
    elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        known = HostError(
            f"a path is too long for this machine: {_shortened(str(error.filename))}",
            code="path-too-long",
            hints=("directories are nested too deep; a store with a shorter path (`--root`) leaves more room",),
        )
    elif isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        known = HostError(
            "too many open files", code="open-files", hints=("raise the limit: `ulimit -n 1024`, or more",)
        )
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):
        hint = "raise the limit of processes: `ulimit -u`, or that of the container (its pids limit)"
        known = HostError("no thread can be started", code="threads", hints=(hint,))
    elif isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        hint = "raise the limit of memory: `ulimit -v`, or that of the container"
        known = HostError("out of memory", code="out-of-memory", hints=(hint,))
    else:
        text = str(error)
        known = InternalError(
            f"internal error: {type(error).__name__}{': ' + text if text else ''}",
            hints=("this is a fault of firkin; please report it, with what `--debug` shows",),
        )
    known.__cause__ = error.__cause__
    return known


def _shortened(path: str) -> str:
    return path if len(path) <= 200 else f"{path[:100]}...{path[-60:]} ({len(path)} characters)"


def _traceback(error: BaseException) -> str:
    import traceback

    return hide_passwords("".join(traceback.format_exception(error)))


def main(build: Build | None = None) -> int:
    """Serve one request from standard input; events go to standard output.

    The build runs in a fork of this process, which stays outside to write the fork's id maps.
    """
    events = os.dup(1)
    os.dup2(2, 1)  # what helpers print must not get between the lines
    with open(0, "rb", closefd=False) as stream:
        data = stream.read()
    try:
        request = decode_request(data)
    except msgspec.ValidationError as error:
        os.write(events, encode_line(failure_of(errors.UsageError(f"invalid request: {error}"))) + b"\n")
        return 2
    try:
        from firkin.linux.syscalls import set_parent_death_signal

        set_parent_death_signal(signal.SIGKILL)
        # Until both processes know what to do with them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        pid = start_worker(request, events, build=build)
    except FirkinError as error:
        os.write(events, encode_line(failure_of(error)) + b"\n")
        return error.exit_code
    os.close(events)
    return _accompany(pid)


def _accompany(pid: int) -> int:
    """Pass signals on to the fork until it ends; return its exit code."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it has ended just now

    for number in _STOPPING:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())

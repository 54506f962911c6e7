"""The messages between worker and front: lines of events, the last one a Success or a Failure. Pure.

A Failure carries an error over the pipe, with its class and causes (docs/dev/events.md).
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable

import msgspec

from firkin import errors
from firkin.builder.request import BuildResult
from firkin.decode import json_decoder
from firkin.errors import Cancelled, FirkinError, HostError, InternalError, RegistryError, StoreError, cause_texts
from firkin.events import Event
from firkin.hints import AnyHint, Hint
from firkin.source import Source, Span
from firkin.text import hide_passwords

STOPPING = (signal.SIGTERM, signal.SIGINT)
"""The signals that ask a worker to stop."""
INPLACE_GRACE_S = 20.0
"""How many seconds a stopped build may take to put the root of the executor image back."""


class Failure(msgspec.Struct, frozen=True, tag_field="event", tag="error"):
    """The last line of a build that failed. `kind` is a class of firkin.errors."""

    kind: str
    message: str
    code: str
    exit_code: int
    hints: tuple[AnyHint, ...] = ()
    span: Span | None = None
    source: Source | None = None
    causes: tuple[str, ...] = ()
    method: str = ""
    url: str = ""
    status: int = 0
    temporary: bool = False
    traceback: str = ""
    option: Hint | None = None


class Success(msgspec.Struct, frozen=True, tag_field="event", tag="result"):
    """The last line of a build that succeeded."""

    result: BuildResult


class Decision(msgspec.Struct, frozen=True):
    """The message of the process outside to its fork: the Backend, as JSON, or why there is none."""

    backend: msgspec.Raw = msgspec.Raw(b"null")
    missing: Failure | None = None


Line = Event | Failure | Success
_decoder: msgspec.json.Decoder[Line] = json_decoder(Line)


def decode_line(line: bytes) -> Line:
    """Read one line of a worker. Raises msgspec.ValidationError for anything else."""
    return _decoder.decode(line)


def failure_of(error: BaseException) -> Failure:
    """Return the Failure for an error; one that is not a FirkinError is a bug of firkin."""
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
        option=known.option,
    )


def error_of(failure: Failure) -> FirkinError:
    """Return the error in a Failure, of the same class and with its causes."""
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
            failure.message, code=failure.code, exit_code=failure.exit_code, hints=failure.hints, span=failure.span,
            option=failure.option,
        )  # fmt: skip
    below: BaseException = error
    for text in failure.causes:
        below.__cause__ = FirkinError(text)
        below = below.__cause__
    return error


def _as_firkin_error(error: BaseException) -> FirkinError:
    if isinstance(error, FirkinError):
        return error
    text = str(error)
    known = _limit_reached(error) or InternalError(
        f"internal error: {type(error).__name__}{': ' + text if text else ''}",
        hints=(Hint.of("bug"),),
    )
    known.__cause__ = error.__cause__
    return known


def _limit_reached(error: BaseException) -> FirkinError | None:
    """Return the error for a limit of this machine that a Python exception reports, None if it reports none."""
    if isinstance(error, KeyboardInterrupt):
        return Cancelled("the build was cancelled")
    if isinstance(error, MemoryError):
        return _out_of_memory(error)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        hint = "raise the limit of processes: `ulimit -u`, or that of the container (its pids limit)"
        return HostError("no thread can be started", code="threads", hints=(hint,))
    make = _BY_ERRNO.get(error.errno or 0) if isinstance(error, OSError) else None
    return make(error) if make else None


def _disk_full(error: BaseException) -> FirkinError:
    name = getattr(error, "filename", None)
    return StoreError(
        f"no space left on device{f' ({name})' if name else ''}",
        code="disk-full",
        hints=(Hint.of("disk-full"),),
    )


def _path_too_long(error: BaseException) -> FirkinError:
    path = str(getattr(error, "filename", None))
    shown = path if len(path) <= 200 else f"{path[:100]}...{path[-60:]} ({len(path)} characters)"
    return HostError(
        f"a path is too long for this machine: {shown}",
        code="path-too-long",
        hints=(Hint.of("store-shorter"),),
    )


def _too_many_files(error: BaseException) -> FirkinError:
    return HostError(
        "too many open files", code="open-files", hints=("raise the limit: `ulimit -n 1024`, or more",)
    )


def _out_of_memory(error: BaseException) -> FirkinError:
    hint = "raise the limit of memory: `ulimit -v`, or that of the container"
    return HostError("out of memory", code="out-of-memory", hints=(hint,))


_BY_ERRNO: dict[int, Callable[[BaseException], FirkinError]] = {
    errno.ENOSPC: _disk_full,
    errno.EDQUOT: _disk_full,
    errno.ENAMETOOLONG: _path_too_long,
    errno.EMFILE: _too_many_files,
    errno.ENFILE: _too_many_files,
    errno.ENOMEM: _out_of_memory,
}


def _traceback(error: BaseException) -> str:
    import traceback

    return hide_passwords("".join(traceback.format_exception(error)))

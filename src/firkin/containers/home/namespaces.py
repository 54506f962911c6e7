"""Does work on files of containers in the namespaces that own them. Does I/O.

A user's containers have files of subordinate ids. Only a process in a user namespace with these ids may read, write or
remove all of them. The work runs in a fork, whose result or error comes back over a pipe; as root nothing but the fork
differs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import msgspec

from firkin.backend import Backend
from firkin.decode import decode_json
from firkin.errors import ContainerError, FirkinError, HostError, StoreError, UsageError
from firkin.hints import AnyHint
from firkin.linux.enter import NamespacePlan, fork_into_namespaces
from firkin.linux.syscalls import set_parent_death_signal

_KINDS = {kind.__name__: kind for kind in (HostError, StoreError, UsageError)}


class _Report(msgspec.Struct, frozen=True):
    """How the work ended: `error` is the class of what it raised, "" if it was done."""

    error: str = ""
    message: str = ""
    code: str = ""
    kind: str = ""
    hints: tuple[AnyHint, ...] = ()
    value: str = ""


def within(backend: Backend, work: Callable[[], str]) -> str:
    """Run `work` in a fork in the backend's namespaces, and return the text that it returns; raises what it raises.

    An error that is not a FirkinError becomes a ContainerError of the kind `failed`.
    """
    read_end, write_end = os.pipe()

    def child() -> int:
        os.close(read_end)
        set_parent_death_signal(signal.SIGKILL)
        report = _done(work)
        with open(write_end, "wb") as file:
            file.write(msgspec.json.encode(report))
        return 0

    try:
        plan = NamespacePlan(mount=False) if backend.enter.maps is None else backend.enter
        pid = fork_into_namespaces(plan, child)
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    with open(read_end, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    if not said:
        raise ContainerError("work on a container's files was ended", kind="failed", code="container-files")
    return _result(decode_json(said, _Report))


def _done(work: Callable[[], str]) -> _Report:
    try:
        return _Report(value=work())
    except ContainerError as error:
        return _Report("ContainerError", error.message, error.code, error.kind, error.hints)
    except FirkinError as error:
        return _Report(type(error).__name__, error.message, error.code, hints=error.hints)
    except OSError as error:
        where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, (str, bytes)) else ""
        message = f"{(error.strerror or str(error)).lower()}{where}"
        return _Report("ContainerError", message, "container-files", "failed")


def _result(report: _Report) -> str:
    if not report.error:
        return report.value
    kind = _KINDS.get(report.error)
    if kind is not None:
        raise kind(report.message, code=report.code, hints=report.hints)
    raise ContainerError(report.message, kind=report.kind or "failed", code=report.code, hints=report.hints)  # type: ignore[arg-type]

"""Opens the session of a build: passes it the parts of the front end that the engine must not import. Does I/O.

These parse ignore files and the addresses of git repositories. `build`, `check` and `verify` import it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from firkin.builder.dockerfile.giturl import parse_git_url
from firkin.builder.dockerfile.ignore import IgnoreMatcher, parse_ignore
from firkin.builder.graph.ops import Git
from firkin.builder.request import BuildRequest
from firkin.builder.solve.session import BuildSession
from firkin.errors import UsageError
from firkin.events import Emit
from firkin.hints import Hint
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform
from firkin.source import Source
from firkin.tasks.cancel import Cancel
from firkin.text import valid_text

if TYPE_CHECKING:
    from firkin.backend import Backend


def open_session(request: BuildRequest, emit: Emit, cancel: Cancel, backend: Callable[[], Backend]) -> BuildSession:
    """Return the session of a build, to be entered; `backend` says how RUN steps can run, or raises HostError."""
    return BuildSession(request, emit, cancel, time.time, IgnoreMatcher, _read_ignore, _parse_git, backend)


def platforms_of(request: BuildRequest) -> tuple[Platform | None, ...]:
    """Return the requested platforms, None standing for that of this machine; raises UsageError."""
    host = this_platform()
    try:
        return tuple(parse_platform(text, host) for text in request.platforms) or (None,)
    except ValueError as error:
        raise UsageError(str(error), code="platform", option=Hint.of("option-platform")) from error


def slot_of(request: BuildRequest, source: Source) -> str:
    """Name the Dockerfile, so that its earlier records can be found when a step misses."""
    context = request.context
    if "://" in context:
        from firkin.registry.url import redact_url

        context = redact_url(context)  # it is written to the store
    return valid_text(f"{context}|{source.name}")


def _read_ignore(data: bytes, name: str) -> IgnoreMatcher:
    return parse_ignore(Source(name, data.decode("utf-8", "surrogateescape")))


def _parse_git(text: str, known_git: bool) -> Git | None:
    """Read a context's address if it is that of a git repository; raises ValueError for a wrong query."""
    url = parse_git_url(text, known_git)
    if url is None:
        return None
    keep = bool(url.keep_git_dir)
    return Git(url.remote, url.ref, url.subdir, keep, checksum=url.checksum, submodules=url.submodules is not False)

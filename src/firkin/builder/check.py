"""Answers questions about a Dockerfile instead of building it: check, outline, targets. Does I/O.

It uses the session and `Bases` that `build` uses; `worker` calls it. The answer is the JSON document of
builder/dockerfile/report.py, as the result's metadata.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from firkin.builder.bases import Bases
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.dockerfile.lint import CheckResult, check_dockerfile, check_part
from firkin.builder.dockerfile.lower import options_of
from firkin.builder.dockerfile.outline import list_targets, outline
from firkin.builder.dockerfile.parse import parse, parse_partly
from firkin.builder.dockerfile.report import check_report, outline_report, targets_report
from firkin.builder.opening import open_session, platforms_of
from firkin.builder.request import BuildRequest, BuildResult, ImageResult
from firkin.builder.solve.session import BuildSession
from firkin.errors import DockerfileError
from firkin.events import Emit, Planned, encode_line
from firkin.source import Source
from firkin.tasks.cancel import Cancel

if TYPE_CHECKING:
    from firkin.backend import Backend


def run_call(request: BuildRequest, emit: Emit, cancel: Cancel, backend: Callable[[], Backend]) -> BuildResult:
    """Answer `request.call`; nothing is built, and layers are not fetched. Raises FirkinError."""
    began = time.time()
    with open_session(request, emit, cancel, backend) as session:
        source = session.contexts.read_dockerfile()
        emit(Planned(time.time(), (), source.shown()))
        document = msgspec.Raw(encode_line(_answer(request, session, source)))
    cancel.check()  # a stopped worker has not looked at every base image
    nothing = ImageResult("", "", "", (), "", 0)
    return BuildResult(nothing, (), (), (), time.time() - began, document)


def _answer(request: BuildRequest, session: BuildSession, source: Source) -> msgspec.Struct:
    options = options_of(request, platforms_of(request)[0], session.host)
    if request.call == "targets":
        return targets_report(source, list_targets(parse(source)))
    if request.call == "outline":
        return outline_report(source, outline(parse(source), options))
    try:
        dockerfile, wrong = parse_partly(source)
        if wrong is not None:
            return check_report(source, check_part(dockerfile, wrong, options, request.check_compat))
    except DockerfileError as error:
        return check_report(source, CheckResult((), error))
    bases = Bases(session)
    matcher = session.contexts.main_matcher
    ignore = matcher if isinstance(matcher, IgnoreMatcher) else None
    return check_report(source, check_dockerfile(dockerfile, options, bases, ignore, request.check_compat))

"""One build, top to bottom: parse → select → resolve → lower → solve → assemble → export. Does I/O.

`run_build` does a whole build, `make_images` does all of it but the export, and `build_platform` does the part for one
platform; the phases follow. Selecting stages is the first part of lowering (`dockerfile/stages.py`). Only this module
and the modules beside it know both the Dockerfile front end and the engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from firkin.builder.bases import Bases
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.dockerfile.lint import CHECK_ARGUMENT, Checks
from firkin.builder.dockerfile.lower import list_images, lower, options_of
from firkin.builder.dockerfile.parse import parse
from firkin.builder.dockerfile.rules import RULES
from firkin.builder.dockerfile.state import LowerOptions, Warn
from firkin.builder.dockerfile.syntax import Dockerfile
from firkin.builder.epoch import named_epoch
from firkin.builder.graph.step import Graph
from firkin.builder.history.recording import Recording
from firkin.builder.opening import open_session, platforms_of, slot_of
from firkin.builder.output.outputs import Exporter
from firkin.builder.request import BuildRequest, BuildResult, ImageResult, StepResult
from firkin.builder.solve.engine import Engine
from firkin.builder.solve.result import Result
from firkin.builder.solve.scheduler import Outcome, Scheduler, vertices_of
from firkin.builder.solve.session import BuildSession
from firkin.content.cached import LostLayer
from firkin.content.format import LayerFormat
from firkin.events import Emit, Planned, PlatformPrefix, Warned
from firkin.oci.platform import Platform
from firkin.registry.trust import check_certificates
from firkin.source import Source, Span
from firkin.store.rules import GcRules
from firkin.tasks.cancel import Cancel

if TYPE_CHECKING:
    from firkin.backend import Backend


def run_build(request: BuildRequest, emit: Emit, cancel: Cancel, backend: Callable[[], Backend]) -> BuildResult:
    """Build what the request asks for and write its outputs; `backend` says how RUN steps can run here.

    Raises FirkinError (Cancelled when `cancel` was set); then nothing was named, pushed or left behind.
    """
    began = time.time()
    check_certificates(request.registry)
    recording = Recording(request, emit, began)
    prefix = PlatformPrefix(recording.emit)
    with open_session(request, prefix, cancel, backend) as session:
        if request.plan_only:
            return _plan(session, request, session.contexts.read_dockerfile(), prefix, began)
        with recording.begin(session.ledger):
            source = session.contexts.read_dockerfile()
            result = _build(session, request, source, prefix, began)
            if request.gc != GcRules():
                from firkin.store.collect import collect

                collect(session.store, request.gc, began, prefix)
            completed = recording.complete(result)
    emit(completed)
    return result


def _build(
    session: BuildSession, request: BuildRequest, source: Source, prefix: PlatformPrefix, began: float
) -> BuildResult:
    """Build and export; begin again without a cached layer that its cache does not deliver."""
    refused: frozenset[str] = frozenset()
    while True:
        try:
            exporter, steps = make_images(session, request, source, prefix)
            result = exporter.export(steps, began)
            if session.caches is not None:
                session.caches.finish()
            return result
        except LostLayer as lost:
            if lost.layer in refused:
                raise
            refused |= {lost.layer}
            text = f"a cached layer is of no use, so its step runs after all: {lost.message}"
            prefix(Warned(time.time(), "cache-refused", text))
            session.begin(refused)


def make_images(
    session: BuildSession, request: BuildRequest, source: Source, prefix: PlatformPrefix
) -> tuple[Exporter, tuple[StepResult, ...]]:
    """Do everything but the export; return the exporter of the images, and the results of the steps."""
    session.ledger.begin(source.name, session.contexts.main_ignore)
    build = _begin(session, request, source, prefix, writes=True)
    steps: list[StepResult] = []
    for platform in _platforms(build):
        steps += build_platform(build, platform)
    return build.exporter, tuple(steps)


def build_platform(build: Build, platform: Platform | None) -> list[StepResult]:
    """Make the image of one platform (None: that of this machine); return the results of the steps."""
    options, bases = _resolve(build, platform)
    graph = _lower(build, options, bases)
    exporter = build.exporter
    engine, outcome = _solve(
        build, graph, exporter.formats(graph), exporter.wants_files, partial(exporter.send_bases, graph)
    )
    exporter.assemble(engine.memory, graph, outcome.results)
    steps = [*exporter.with_layers(outcome.step_results, outcome.results)]
    for target in build.request.also_targets:
        build.prefix.enter(f"{platform or ''} {target}")
        other = lower(build.dockerfile, msgspec.structs.replace(options, target=target), bases, build.checks.warn)
        _, outcome = _solve(build, other, (), whole_files=True)
        steps += outcome.step_results.values()
    return steps


def _plan(
    session: BuildSession, request: BuildRequest, source: Source, prefix: PlatformPrefix, began: float
) -> BuildResult:
    """List the steps of every platform, and run none."""
    build = _begin(session, request, source, prefix, writes=False)
    for platform in _platforms(build):
        options, bases = _resolve(build, platform)
        prefix(Planned(time.time(), vertices_of(_lower(build, options, bases)), source.shown()))
    return BuildResult(ImageResult("", "", "", (), "", 0), (), (), (), time.time() - began)


class Build(NamedTuple):
    """The values that the phases of one build share."""

    session: BuildSession
    request: BuildRequest
    dockerfile: Dockerfile
    checks: Checks
    exporter: Exporter
    prefix: PlatformPrefix


def _begin(
    session: BuildSession, request: BuildRequest, source: Source, prefix: PlatformPrefix, *, writes: bool
) -> Build:
    """Parse the Dockerfile, and check what must be known before steps run. `writes`: outputs will be written."""
    prefix(Planned(time.time(), (), source.shown()))  # so that an error can show the lines it is about
    dockerfile = parse(source)
    checks = Checks(dockerfile, _reporter(prefix), dict(request.build_args).get(CHECK_ARGUMENT))
    checks.check_syntax()
    exporter = Exporter(session, request)
    if writes:
        exporter.check_places()
    exporter.check_push()
    session.contexts.check_named()
    return Build(session, request, dockerfile, checks, exporter, prefix)


def _platforms(build: Build) -> Iterator[Platform | None]:
    """Yield the requested platforms; if there are several, the steps of each get its name as a prefix."""
    for platform in platforms_of(build.request):
        if len(build.request.platforms) > 1:
            build.prefix.enter(str(platform), str(platform))
        yield platform
    build.prefix.enter("")


def _resolve(build: Build, platform: Platform | None) -> tuple[LowerOptions, Bases]:
    """Find the images that the stages in use begin with, and the time that SOURCE_DATE_EPOCH names."""
    session, dockerfile = build.session, build.dockerfile
    bases = Bases(session)
    options = options_of(build.request, platform, session.host)
    options = msgspec.structs.replace(options, named_epoch=named_epoch(session, dockerfile, options, bases))
    bases.prefetch(list_images(dockerfile, options))
    return options, bases


def _lower(build: Build, options: LowerOptions, bases: Bases) -> Graph:
    """Make the graph of the target; raises what the Dockerfile's own checks forbid."""
    checks, matcher = build.checks, build.session.contexts.main_matcher
    graph = lower(build.dockerfile, options, bases, checks.warn)
    if isinstance(matcher, IgnoreMatcher):
        checks.check_copies(graph, matcher)
    if (violation := checks.violation()) is not None:
        raise violation
    return graph


def _solve(
    build: Build,
    graph: Graph,
    formats: tuple[LayerFormat, ...],
    whole_files: bool,
    on_first_miss: Callable[[], None] = lambda: None,
) -> tuple[Engine, Outcome[Result]]:
    """Run the steps that no cache has. `formats` are the forms in which the target's layers will be needed."""
    session, source = build.session, build.dockerfile.source
    engine = session.engine(
        graph, slot_of(build.request, source), formats,
        whole_files=whole_files, base_blobs=build.exporter.keeps_blobs, on_first_miss=on_first_miss,
    )  # fmt: skip
    scheduler = Scheduler(engine, session.pools.steps, build.prefix, session.stop, time.time)
    return engine, scheduler.run(graph, source.shown())


def _reporter(emit: Emit) -> Warn:
    """Return a function that emits the front end's warnings, each with the page of its rule."""

    def report(code: str, message: str, span: Span | None) -> None:
        rule = RULES.get(code)
        emit(Warned(time.time(), code, message, span, (), rule.url if rule else ""))

    return report

"""One build, top to bottom: parse → select → resolve → lower → solve → assemble → export. Does I/O.

The only module that sees both the Dockerfile front end and the engine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from firkin.builder.dockerfile.giturl import parse_git_url
from firkin.builder.dockerfile.ignore import IgnoreMatcher, parse_ignore
from firkin.builder.dockerfile.lint import CHECK_ARGUMENT, Checks
from firkin.builder.dockerfile.lower import list_images, lower, options_of
from firkin.builder.dockerfile.parse import parse
from firkin.builder.dockerfile.rules import RULES
from firkin.builder.dockerfile.stages import EPOCH
from firkin.builder.dockerfile.state import BaseImage, LowerOptions, NamedContext
from firkin.builder.dockerfile.syntax import Dockerfile
from firkin.builder.graph.ops import Git
from firkin.builder.output.outputs import Exporter
from firkin.builder.request import BuildRequest, BuildResult, ImageResult, StepResult
from firkin.builder.solve.scheduler import Scheduler, vertices_of
from firkin.builder.solve.session import BuildSession
from firkin.content.layers import LostLayer
from firkin.errors import FirkinError, UsageError
from firkin.events import Completed, Emit, Lanes, Planned, Warned
from firkin.oci.config import field_with_nul
from firkin.oci.platform import Platform, host_platform, parse_platform
from firkin.registry.trust import check_certificates
from firkin.source import Source, Span
from firkin.store.rules import GcRules
from firkin.tasks.cancel import Cancel
from firkin.text import valid_text

if TYPE_CHECKING:
    from firkin.backend import Backend


def run_build(request: BuildRequest, emit: Emit, cancel: Cancel, way: Callable[[], Backend]) -> BuildResult:
    """Build what the request asks for and write its outputs; `way` says how RUN steps can run here.

    Raises FirkinError (Cancelled when `cancel` was set); then nothing was named, pushed or left behind.
    """
    began = time.time()
    check_certificates(request.registry)
    emit = with_lanes(request, emit)
    with open_session(request, emit, cancel, way) as bench:
        source = bench.contexts.read_dockerfile()
        refused: frozenset[str] = frozenset()
        while True:
            try:
                result = _build(bench, request, source, emit, began)
                break
            except LostLayer as lost:
                if lost.layer in refused:
                    raise
                refused |= {lost.layer}
                text = f"a cached layer is of no use, so its step runs after all: {lost.message}"
                emit(Warned(time.time(), "cache-refused", text))
                bench.begin(refused)
        if not request.plan_only and request.gc != GcRules():
            from firkin.store.collect import collect

            collect(bench.store, request.gc, began, emit)
    if request.plan_only:
        return result
    image = result.image
    emit(
        Completed(time.time(), image.digest, image.config_digest, image.names, image.size_bytes, result.seconds)
    )
    return result


def _build(bench: BuildSession, request: BuildRequest, source: Source, emit: Emit, began: float) -> BuildResult:
    exporter, stories = make_images(bench, request, source, emit)
    if request.plan_only:
        return BuildResult(ImageResult("", "", "", (), "", 0), (), (), (), time.time() - began)
    result = exporter.export(stories, began)
    if bench.caches is not None:
        bench.caches.finish()
    return result


def make_images(
    bench: BuildSession, request: BuildRequest, source: Source, emit: Emit
) -> tuple[Exporter, tuple[StepResult, ...]]:
    """Do everything but the last: return who can export the images, and what became of the steps."""
    shown = source.shown()
    emit(Planned(time.time(), (), shown))  # so that an error can show the lines it is about
    dockerfile = parse(source)
    checks = Checks(dockerfile, _Reporter(emit), dict(request.build_args).get(CHECK_ARGUMENT))
    checks.check_syntax()
    exporter = Exporter(bench, request)
    if not request.plan_only:
        exporter.check_places()
    exporter.check_push()
    bench.contexts.check_named()
    stories: list[StepResult] = []
    lanes = emit if isinstance(emit, Lanes) else None
    for platform in platforms_of(request):
        if lanes is not None and len(request.platforms) > 1:
            lanes.enter(str(platform), str(platform))
        options = options_of(request, platform, bench.host)
        bases = Bases(bench)
        options = msgspec.structs.replace(options, named_epoch=_named_epoch(bench, dockerfile, options, bases))
        bases.prefetch(list_images(dockerfile, options))
        graph = lower(dockerfile, options, bases, checks.warn)
        if isinstance(bench.contexts.main_matcher, IgnoreMatcher):
            checks.check_copies(graph, bench.contexts.main_matcher)
        if (violation := checks.violation()) is not None:
            raise violation
        if request.plan_only:
            emit(Planned(time.time(), vertices_of(graph), shown))
            continue
        engine = bench.engine(_slot(request, source))
        engine.prepare(graph, exporter.formats(graph), whole_files=exporter.wants_files)
        engine.on_first_miss = partial(exporter.send_bases, graph)
        scheduler = Scheduler(engine, bench.pools.steps, emit, bench.stop, time.time)
        outcome = scheduler.run(graph, shown)
        exporter.assemble(engine, graph, outcome.results)
        stories += exporter.with_layers(outcome.step_results, outcome.results)
        for target in request.also_targets:
            if lanes is not None:
                lanes.enter(f"{platform or ''} {target}")
            graph = lower(dockerfile, msgspec.structs.replace(options, target=target), bases, checks.warn)
            engine = bench.engine(_slot(request, source))
            engine.prepare(graph, (), whole_files=True)
            outcome = Scheduler(engine, bench.pools.steps, emit, bench.stop, time.time).run(graph, shown)
            stories += outcome.step_results.values()
    if lanes is not None:
        lanes.enter("")
    return exporter, tuple(stories)


def _named_epoch(bench: BuildSession, dockerfile: Dockerfile, options: LowerOptions, bases: Bases) -> int | None:
    """Return the time of what SOURCE_DATE_EPOCH names: of a commit, or a download; None where there is none."""
    if EPOCH not in options.arguments and EPOCH not in dockerfile.source.text:
        return None
    from firkin.builder.dockerfile.epoch import find_epoch_source

    source = find_epoch_source(dockerfile, options, bases)
    if source is None:
        return None
    if isinstance(source, str):
        if source and bench.contexts.image(source, options.platform) is not None:
            return None
        files = bench.contexts.files[source]
    else:
        files = bench.contexts.fetch(source, "", bench.stop)
    return files.time_s if files.time_s is not None else bench.newest_in_archive(files)


def with_lanes(request: BuildRequest, emit: Emit) -> Emit:
    """Return what a build of more than one graph tells its events to."""
    return Lanes(emit) if len(request.platforms) > 1 or request.also_targets else emit


def open_session(request: BuildRequest, emit: Emit, cancel: Cancel, way: Callable[[], Backend]) -> BuildSession:
    """Return what a build works with, to be entered."""
    return BuildSession(request, emit, cancel, time.time, IgnoreMatcher, _read_ignore, _parse_git, way)


def platforms_of(request: BuildRequest) -> tuple[Platform | None, ...]:
    """Return the platforms asked for, or None for that of this machine."""
    try:
        return tuple(parse_platform(text, _host()) for text in request.platforms) or (None,)
    except ValueError as error:
        raise UsageError(f"invalid --platform: {error}", code="platform") from error


def _parse_git(text: str, known_git: bool) -> Git | None:
    """Read a context's address if it is that of a git repository; raises ValueError for a wrong query."""
    url = parse_git_url(text, known_git)
    if url is None:
        return None
    keep = bool(url.keep_git_dir)
    return Git(url.remote, url.ref, url.subdir, keep, checksum=url.checksum, submodules=url.submodules is not False)


def _read_ignore(data: bytes, name: str) -> IgnoreMatcher:
    return parse_ignore(Source(name, data.decode("utf-8", "surrogateescape")))


def _host() -> Platform:
    system = os.uname()
    return host_platform(system.sysname, system.machine)


def _slot(request: BuildRequest, source: Source) -> str:
    """Name the Dockerfile, so that its earlier records can be found when a step misses."""
    context = request.context
    if "://" in context:
        from firkin.registry.url import redact_url

        context = redact_url(context)  # it is written to the store
    return valid_text(f"{context}|{source.name}")


class Bases:
    """Gives lowering the images and contexts that lie outside the Dockerfile."""

    def __init__(self, bench: BuildSession) -> None:
        self._bench = bench

    def prefetch(self, images: tuple[tuple[str, Platform], ...]) -> None:
        """Resolve several names at the same time; what fails is told when lowering asks for it."""
        for name, platform in images[1:] and images:
            self._bench.pools.transfers.submit(lambda n=name, p=platform: self._bench.resolver.resolve(n, p))  # type: ignore[misc]

    def image(self, name: str, platform: Platform, span: Span | None) -> BaseImage:
        """Resolve a name; an error gets the place that asked for it."""
        try:
            found = self._bench.resolver.resolve(name, platform)
        except FirkinError as error:
            error.span = error.span or span
            raise
        image = found.image
        if b"\\u0000" in image.config.raw and (field := field_with_nul(image.config.runtime)):
            text = f"the configuration of {found.name} has a NUL character in {field}, which no command can be given"
            self._bench.emit(Warned(time.time(), "base-nul", text, span))
        return BaseImage(found.name, found.digest, found.origin, image.config.platform, image.config, image.layers)

    def context(self, name: str, platform: Platform, span: Span | None) -> NamedContext:
        """Return what a named context is."""
        image = self._bench.contexts.image(name, platform)
        if image is None:
            return NamedContext()
        if isinstance(image, str):
            return NamedContext(self.image(image, platform, span))
        config = image.image.config
        return NamedContext(
            BaseImage(image.name, image.digest, image.origin, config.platform, config, image.image.layers)
        )


class _Reporter:
    """Passes what the front end warns of on."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def __call__(self, code: str, message: str, span: Span | None) -> None:
        rule = RULES.get(code)
        self._emit(Warned(time.time(), code, message, span, (), rule.url if rule else ""))

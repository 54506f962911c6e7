"""The JSON documents of `--call=check`, `outline` and `targets`, in BuildKit's form. Pure.

Mirrors: buildkit frontend/subrequests/{lint,outline,targets}. builder/check.py makes them; the command line reads
them to draw text. A `character` counts from 0, a `line` from 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from firkin.hints import AnyHint
from firkin.source import Position as SourcePosition
from firkin.source import Source, Span

if TYPE_CHECKING:
    from firkin.builder.dockerfile.lint import CheckResult
    from firkin.builder.dockerfile.outline import Outline, OutlineMount, Target


class Position(msgspec.Struct, frozen=True):
    line: int
    character: int = 0


class Range(msgspec.Struct, frozen=True):
    start: Position
    end: Position


class Location(msgspec.Struct, frozen=True, rename="camel"):
    source_index: int = 0
    ranges: tuple[Range, ...] = ()

    def span(self, name: str) -> Span | None:
        """Return the first range as a span of the file `name`."""
        if not self.ranges:
            return None
        first, last = self.ranges[0].start, self.ranges[-1].end
        return Span(
            name,
            SourcePosition(first.line, first.character + 1),
            SourcePosition(last.line, last.character + 1),
        )


class SourceInfo(msgspec.Struct, frozen=True):
    """A text; JSON has `data` as base64."""

    filename: str
    data: bytes
    language: str = "Dockerfile"

    def source(self) -> Source:
        """Return the text for excerpts."""
        return Source(self.filename, self.data.decode("utf-8", "surrogateescape"))


class ReportWarning(msgspec.Struct, frozen=True, rename="camel"):
    rule_name: str
    description: str = ""
    url: str = ""
    detail: str = ""
    location: Location = Location()


class BuildError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the file cannot be built; `hints` are firkin's addition."""

    message: str
    location: Location = Location()
    hints: tuple[AnyHint, ...] = ()


class CheckReport(msgspec.Struct, frozen=True):
    """What `--call=check,format=json` prints."""

    warnings: tuple[ReportWarning, ...]
    sources: tuple[SourceInfo, ...]
    error: BuildError | msgspec.UnsetType | None = msgspec.field(default=msgspec.UNSET, name="buildError")


class ArgRow(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    description: str = ""
    value: str = ""
    location: Location | None = None


class MountRow(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    required: bool = False
    location: Location | None = None


class OutlineReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `--call=outline,format=json` prints."""

    name: str = ""
    description: str = ""
    args: tuple[ArgRow, ...] = ()
    secrets: tuple[MountRow, ...] = ()
    ssh: tuple[MountRow, ...] = ()
    sources: tuple[bytes, ...] = ()


class TargetRow(msgspec.Struct, frozen=True, omit_defaults=True):
    location: Location
    name: str = ""
    default: bool = False
    description: str = ""
    base: str = ""
    platform: str = ""


class TargetsReport(msgspec.Struct, frozen=True):
    """What `--call=targets,format=json` prints."""

    targets: tuple[TargetRow, ...]
    sources: tuple[bytes, ...]


def check_report(source: Source, result: CheckResult) -> CheckReport:
    """Return the document with the findings of the checks."""
    warnings = tuple(
        ReportWarning(found.rule, found.description, found.url, found.message, location_of(found.span))
        for found in result.warnings
    )
    failure = result.error
    error: BuildError | msgspec.UnsetType = msgspec.UNSET
    if failure is not None:
        span = failure.span if failure.span is not None and failure.span.name == source.name else None
        error = BuildError(failure.message, location_of(span), failure.hints)
    return CheckReport(warnings, (SourceInfo(source.name, _data(source)),), error)


def outline_report(source: Source, outline: Outline) -> OutlineReport:
    """Return the document with the outline of a target."""

    def rows(mounts: tuple[OutlineMount, ...]) -> tuple[MountRow, ...]:
        return tuple(MountRow(mount.id, mount.required, location_of(mount.span)) for mount in mounts)

    return OutlineReport(
        outline.name,
        outline.description,
        tuple(ArgRow(arg.name, arg.description, arg.value, location_of(arg.span)) for arg in outline.args),
        rows(outline.secrets),
        rows(outline.ssh),
        (_data(source),),
    )


def targets_report(source: Source, targets: tuple[Target, ...]) -> TargetsReport:
    """Return the document with the targets of a file."""
    rows = tuple(
        TargetRow(location_of(x.span), x.name, x.default, x.description, x.base, x.platform) for x in targets
    )
    return TargetsReport(rows, (_data(source),))


def location_of(span: Span | None) -> Location:
    """Return a span as a location with a range for each line, without ranges for None. Mirrors: parser.toRanges."""
    if span is None:
        return Location()
    lines = (Position(line) for line in range(span.start.line, span.end.line + 1))
    return Location(0, tuple(Range(line, line) for line in lines))


def _data(source: Source) -> bytes:
    return source.shown().text.encode("utf-8", "surrogateescape")

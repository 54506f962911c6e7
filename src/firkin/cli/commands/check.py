"""`firkin check`, and the answers of `firkin build --call`. Does I/O. Only `cli` may import it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from firkin.cli.build_options import CHECK
from firkin.cli.command import Invocation
from firkin.cli.front import build_in_worker
from firkin.cli.hints import COMMAND_LINE
from firkin.cli.options import COMMON, REGISTRY
from firkin.cli.requests import check_request, settings_of
from firkin.cli.run import Reported, write_all, write_out
from firkin.decode import decode_json
from firkin.errors import DockerfileError, FirkinError
from firkin.hints import hint_texts

if TYPE_CHECKING:
    from firkin.builder.request import BuildRequest

FINE_EXIT_CODES = True
USAGE = "[OPTIONS] [CONTEXT]"
ABOUT = (
    "Check a Dockerfile without building it: everything that would make the build fail before the first step, and "
    "what is allowed but probably not meant. CONTEXT as for `firkin build` (default: the current directory). Ends "
    "with 1 if there are findings."
)
OPTIONS = CHECK + REGISTRY + COMMON


def run(invocation: Invocation) -> int:
    """Check and print the findings."""
    arguments, ambient = invocation
    request = check_request(arguments, ambient, settings_of(arguments, ambient))
    return answer(request, as_json=arguments.text("format") == "json")


def answer(request: BuildRequest, *, as_json: bool) -> int:
    """Let a worker answer `request.call`, print the answer and return the exit code. Raises Reported."""
    from firkin.render import make_renderer

    ending, renderer = build_in_worker(request, lambda: make_renderer("quiet", 2, terminal=os.isatty(2)))
    if isinstance(ending, FirkinError):
        if request.call == "check" and ending.exit_code == 1:
            ending.exit_code = 2  # 1 means that the check worked and has findings
        raise Reported(ending, renderer.sources())
    data = bytes(ending.metadata)
    if request.call == "check":
        data = _in_words(data)
    if as_json:
        write_out(msgspec.json.format(data, indent=2).decode() + "\n")
    if request.call == "check":
        return _checked(data, as_json)
    if not as_json:
        write_out(_outline(data) if request.call == "outline" else _targets(data))
    return 0


def _in_words(data: bytes) -> bytes:
    """Return the document with the hints of its error in the words of the command line."""
    from firkin.builder.dockerfile.report import CheckReport

    report = decode_json(data, CheckReport)
    if not report.error or not report.error.hints:
        return data
    error = msgspec.structs.replace(report.error, hints=hint_texts(report.error.hints, COMMAND_LINE))
    return msgspec.json.encode(msgspec.structs.replace(report, error=error))


def _checked(data: bytes, as_json: bool) -> int:
    from firkin.builder.dockerfile.report import CheckReport
    from firkin.render.check import Finding, findings_text
    from firkin.render.report import error_text

    report = decode_json(data, CheckReport)
    source = report.sources[0].source()
    error = report.error or None
    if not as_json:
        findings = [Finding(w.rule_name, w.url, w.detail, w.location.span(source.name)) for w in report.warnings]
        if findings or error is None:
            write_out(findings_text(findings, source, terminal=os.isatty(1)))
        if error is not None:
            failure = DockerfileError(error.message, hints=error.hints, span=error.location.span(source.name))
            write_all(2, error_text(failure, (source,), terminal=os.isatty(2)) + "\n")
    return 1 if report.warnings or error is not None else 0


def _outline(data: bytes) -> str:
    from firkin.builder.dockerfile.report import OutlineReport
    from firkin.render.text import table

    report = decode_json(data, OutlineReport)
    parts = []
    if report.name or report.description:
        head = f"TARGET:       {report.name or '(default)'}\n"
        parts.append(head + (f"DESCRIPTION:  {report.description}\n" if report.description else ""))
    if report.args:
        rows = ((arg.name, arg.value, arg.description) for arg in report.args)
        parts.append(table(("BUILD ARG", "VALUE", "DESCRIPTION"), rows, 3))
    for title, mounts in (("SECRET", report.secrets), ("SSH", report.ssh)):
        if mounts:
            cells = ((mount.name, "true" if mount.required else "") for mount in mounts)
            parts.append(table((title, "REQUIRED"), cells, 3))
    return "\n".join(parts)


def _targets(data: bytes) -> str:
    from firkin.builder.dockerfile.report import TargetsReport
    from firkin.render.text import table

    report = decode_json(data, TargetsReport)
    rows = (
        (f"{row.name} (default)".lstrip() if row.default else row.name, row.description) for row in report.targets
    )
    return table(("TARGET", "DESCRIPTION"), rows)

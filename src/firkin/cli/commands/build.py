"""`firkin build`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
from collections.abc import Callable

from firkin.ambient import absolute
from firkin.builder.request import BuildRequest, BuildResult
from firkin.cli.arguments import Arguments
from firkin.cli.build_options import BUILD
from firkin.cli.command import Invocation
from firkin.cli.front import build_in_worker
from firkin.cli.options import COMMON, PROGRESS, REGISTRY
from firkin.cli.requests import build_request, call_of, settings_of
from firkin.cli.run import Reported, write_out
from firkin.errors import ContextError, DockerfileError, FirkinError, StepFailed, UsageError
from firkin.render import Renderer

FINE_EXIT_CODES = True
USAGE = "[OPTIONS] CONTEXT"
ABOUT = (
    "Build an image from a Dockerfile. CONTEXT is a directory, a URL (git, tar archive), or `-` for a tar archive "
    "or a Dockerfile on standard input."
)
OPTIONS = BUILD + PROGRESS + REGISTRY + COMMON


def run(invocation: Invocation) -> int:
    """Build, draw, write --iidfile and --metadata-file."""
    arguments, ambient = invocation
    settings = settings_of(arguments, ambient)
    request = build_request(arguments, ambient, settings)
    progress = "quiet" if arguments.flag("quiet") else arguments.text("progress") or settings.progress or "auto"
    _refuse_terminal(request)
    if request.call != "build":
        from firkin.cli.commands.check import answer

        asked = call_of(arguments)
        status = answer(request, as_json=asked.as_json)
        return 0 if asked.ignore_status else status
    return build_request_in_worker(
        request, arguments, _renderer(progress, request, ambient.environ.get("TERM", ""))
    )


def build_request_in_worker(
    request: BuildRequest, arguments: Arguments, make_renderer: Callable[[], Renderer]
) -> int:
    """Build the request in a worker, write --iidfile and --metadata-file. Raises Reported."""
    _prepare_results(arguments, request.cwd)
    ending, renderer = build_in_worker(request, make_renderer)
    if isinstance(ending, FirkinError):
        ending.message = _in_known_words(ending)
        raise Reported(ending, renderer.sources())
    if request.verify:
        _tell_verdicts(ending)
    elif ending.image.digest:
        _write_results(ending, arguments, request.cwd)
    return 0


def _in_known_words(error: FirkinError) -> str:
    """Return the message after BuildKit's first words, which scripts look for."""
    if not isinstance(error, (DockerfileError, ContextError, StepFailed)) and error.span is None:
        return error.message  # not about the Dockerfile, but about the command line, this machine or a registry
    key = "failed to compute cache key: " if error.code in ("copy-not-found", "mount-source") else ""
    return f"failed to solve: {key}{error.message}"


def _tell_verdicts(result: BuildResult) -> None:
    import msgspec

    for verdict in msgspec.json.decode(result.metadata):
        epoch = verdict["source_date_epoch"]
        given = "" if epoch is None else f" with SOURCE_DATE_EPOCH={epoch}"
        write_out(f"verified: {verdict['platform']} is built as {verdict['digest']} again{given}\n")


def _write_results(result: BuildResult, arguments: Arguments, cwd: str) -> None:
    if arguments.given("iidfile"):
        _write_file("--iidfile", absolute(cwd, arguments.text("iidfile")), _image_id(result).encode())
    if arguments.given("metadata_file"):
        import msgspec

        document = msgspec.json.format(bytes(result.metadata), indent=2)
        _write_file("--metadata-file", absolute(cwd, arguments.text("metadata_file")), document)
    if arguments.flag("quiet") and "-" not in {output.partition(" ")[0] for output in result.outputs}:
        write_out(f"{_image_id(result)}\n")


def _image_id(result: BuildResult) -> str:
    """Return the output of `docker build -q`: the digest of the configuration, or of an index."""
    return result.image.config_digest or result.image.digest


def _prepare_results(arguments: Arguments, cwd: str) -> None:
    """Refuse unwritable files before the build, and remove the id of an earlier image in case this build fails."""
    for dest, option in (("iidfile", "--iidfile"), ("metadata_file", "--metadata-file")):
        path = absolute(cwd, arguments.text(dest))
        if arguments.given(dest) and (not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path)):
            raise UsageError(f"option `{option}`: cannot write {path}", hints=("name a file in an existing directory",))
    if arguments.given("iidfile"):
        path = absolute(cwd, arguments.text("iidfile"))
        try:
            if os.path.isfile(path):
                os.unlink(path)
        except OSError as error:
            raise UsageError(f"option `--iidfile`: cannot replace {path}: {(error.strerror or '').lower()}") from error


def _write_file(option: str, path: str, data: bytes) -> None:
    """Write a file beside and rename it: a reader sees the old file or the new one. Write to devices directly."""
    from firkin.linux.files import open_special, write_beside

    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(open_special(path), "wb") as stream:
                stream.write(data)
            return
        write_beside(path, data)
    except OSError as error:
        raise UsageError(f"option `{option}`: cannot write {path}: {(error.strerror or '').lower()}") from error


def _refuse_terminal(request: BuildRequest) -> None:
    if any(output.dest == "-" for output in request.outputs) and os.isatty(1):
        raise UsageError("an image is not written to a terminal", hints=("send it elsewhere: `> image.tar`",))
    if request.context == "-" and os.isatty(0):
        raise UsageError("a context is not read from a terminal",
                         hints=("send a tar archive or a Dockerfile: `firkin build - < Dockerfile`",))  # fmt: skip


def _renderer(progress: str, request: BuildRequest, term: str) -> Callable[[], Renderer]:
    """Choose the renderer and its stream: data goes to standard output, everything else to standard error."""
    from firkin.render import make_renderer

    terminal = os.isatty(2)
    if progress == "auto":
        progress = "tty" if terminal and term not in ("", "dumb") else "plain"
    if progress == "tty" and not terminal:
        progress = "plain"
    name = {"none": "quiet"}.get(progress, progress)
    descriptor = 2  # buildx also writes `rawjson` here
    if name == "json" and not any(output.dest == "-" for output in request.outputs):
        descriptor = 1
    return lambda: make_renderer(name, descriptor, terminal=terminal)

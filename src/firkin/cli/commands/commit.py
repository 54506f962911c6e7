"""`firkin commit`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.errors import UsageError
from firkin.images.names import read_tag
from firkin.linux.machine import this_platform
from firkin.oci.config import RuntimeConfig

USAGE = "[OPTIONS] CONTAINER [NAME[:TAG]]"
ABOUT = (
    "Make an image of a container: what it changed becomes one more layer, without volumes. Prints the image's id."
)
OPTIONS = (
    Option(("--author", "-a"), "author", "text", "who made the image", "TEXT"),
    Option(("--change", "-c"), "change", "many", "apply a Dockerfile instruction, e.g. `CMD [\"sh\"]` (CMD, "
           "ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR)", "INSTRUCTION"),
    Option(("--message", "-m"), "message", "text", "the comment in the image's history", "TEXT"),
    Option(("--pause", "-p"), "pause", "flag", "pause the container meanwhile (the default; `--pause=false` does not)",
           takes_value=False),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Make the image. Raises UsageError, DockerfileError, ContainerError."""
    from firkin.containers.commit import CommitRequest, commit

    arguments = invocation.arguments
    if not 1 <= len(arguments.operands) <= 2:
        raise UsageError("`firkin commit` needs a container, and perhaps a name for the image")
    container, *names = arguments.operands
    changes = arguments.many("change")

    def changed(runtime: RuntimeConfig) -> RuntimeConfig:
        from firkin.builder.dockerfile.changes import apply_changes

        return apply_changes(runtime, changes, this_platform())

    request = CommitRequest(
        name=read_tag(names[0]) if names else None,
        author=arguments.text("author"),
        message=arguments.text("message"),
        pause=arguments.flag("pause") or not arguments.given("pause"),
        change=changed if changes else None,
    )
    engine = open_engine(invocation)
    write_out(f"{commit(engine, engine.home.find(container), request)}\n")
    return 0

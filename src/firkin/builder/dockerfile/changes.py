"""Changes of an image's configuration, written as Dockerfile instructions: `--change` of import and commit. Pure.

Mirrors: moby builder/dockerfile BuildFromConfig and validCommitCommands.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.builder.dockerfile.instructions import row_of
from firkin.builder.dockerfile.lines import read_dockerfile
from firkin.builder.dockerfile.parse import parse_instruction
from firkin.builder.dockerfile.state import LowerContext, LowerOptions, StageState
from firkin.builder.graph.ops import Scratch
from firkin.builder.graph.step import GraphBuilder, StepMeta
from firkin.errors import DockerfileError
from firkin.oci.config import RuntimeConfig
from firkin.oci.platform import Platform
from firkin.source import Source

ALLOWED = frozenset("cmd entrypoint env expose healthcheck label onbuild stopsignal user volume workdir".split())


def apply_changes(runtime: RuntimeConfig, changes: Iterable[str], platform: Platform) -> RuntimeConfig:
    """Return the configuration with the changes, in their order; each text may have several instructions.

    Nothing is added that no change asks for: no PATH, no working directory. Raises DockerfileError.
    """
    source = Source("--change", "\n".join(changes))
    if not source.text.strip():
        return runtime
    builder = GraphBuilder()
    options = LowerOptions(platform=platform, build_platform=platform)
    context = LowerContext(options, builder, "\\", {}, lambda code, message, span: None)
    state = _state(runtime, builder, platform)
    for raw in read_dockerfile(source).instructions:
        if raw.keyword not in ALLOWED:
            raise DockerfileError(
                f"{raw.keyword} is not a valid change command", code="change", span=raw.span,
                hints=(f"these are: {', '.join(sorted(ALLOWED)).upper()}",),
            )  # fmt: skip
        row_of(raw.keyword).lower(parse_instruction(raw), state, context)
    return msgspec.structs.replace(state.runtime(), args_escaped=runtime.args_escaped)


def _state(runtime: RuntimeConfig, builder: GraphBuilder, platform: Platform) -> StageState:
    """Return a stage that begins with the configuration; its steps lead nowhere."""
    step = builder.add(Scratch(), (), StepMeta("change", platform=platform))
    state = StageState.on(runtime, "", platform, platform, step)
    state.take_image_variables()
    return state

"""LABEL: names and values that the image carries. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.instructions.env import parse_pairs, warn_legacy
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.dockerfile.words import NameValue


class Label(Instruction, frozen=True):
    """LABEL: pairs unexpanded, in order; `legacy`: written `NAME VALUE`."""

    pairs: tuple[NameValue, ...]
    legacy: bool = False


def parse(raw: RawInstruction) -> Label:
    """Parse `LABEL NAME=VALUE...`; raises DockerfileError."""
    parse_flags(raw)
    found = parse_pairs(raw, "LABEL")
    return Label(raw, found.pairs, found.legacy)


def lower(node: Label, state: StageState, context: LowerContext) -> None:
    """Set the labels."""
    warn_legacy(node.raw, node.legacy, context)
    shown = ["LABEL"]
    for pair in node.pairs:
        name = state.expand(pair.name, node.span, context)
        value = state.expand(pair.value, node.span, context)
        state.labels[name] = value
        shown.append(f"{name}={value}")
    state.record(" ".join(shown))

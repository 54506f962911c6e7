"""What the engine notes of its steps for the record of a build. Pure. Thread-safe: each note is one assignment.

Noting costs next to nothing, since it keeps what the engine has anyway; `recording` makes a record of it at the end.
"""

from __future__ import annotations

from typing import NamedTuple

from firkin.builder.graph.key import CacheKey, Part
from firkin.builder.graph.ops import BindMount, CacheMount, Copy, FileSource, PathSource, Run
from firkin.builder.graph.step import Step


class StepNote(NamedTuple):
    """A step that was looked up. `place` says where its layer was found, "" if it ran; `reads` belong to its parts."""

    step: Step
    key: CacheKey
    parts: tuple[Part, ...]
    place: str
    layer: str
    reads: tuple[tuple[int, str], ...]


class Ledger:
    """The notes of one build.

    `steps` are all steps of its graphs by their names in events, `notes` those with a key. `lists` are the lists of
    files that keys stand for, by digest: items as `copy.content` hashes them. `dockerfile` is its name, `ignore` the
    text of the ignore file.
    """

    def __init__(self) -> None:
        self.dockerfile = ""
        self.ignore = b""
        self.steps: dict[str, tuple[Step, tuple[str, ...]]] = {}
        self.notes: dict[str, StepNote] = {}
        self.lists: dict[str, list[str]] = {}

    def begin(self, dockerfile: str, ignore: bytes) -> None:
        """Note what is built; see the class."""
        self.dockerfile, self.ignore = dockerfile, ignore

    def note(
        self, vertex: str, step: Step, snapshots: frozenset[int], key: tuple[CacheKey, tuple[Part, ...]], place: str,
        layer: str,
    ) -> None:  # fmt: skip
        """Note the key of a step and what came of it; `snapshots`: the positions of inputs that are stages or bases."""
        self.notes[vertex] = StepNote(step, *key, place, layer, reads_of_step(step, snapshots))


def reads_of_step(step: Step, snapshots: frozenset[int]) -> tuple[tuple[int, str], ...]:
    """Return input and path of each part that stands for files, in the order of the parts (`solve/keys.py`)."""
    op = step.op
    if isinstance(op, Copy):
        found = [
            (source.input, source.path if isinstance(source, PathSource) else "")
            for source in op.sources
            if isinstance(source, (PathSource, FileSource))
        ]
        # A COPY's stages come before its contexts.
        return tuple(sorted(found, key=lambda read: read[0] not in snapshots))
    if isinstance(op, Run):
        mounts = [mount for mount in op.mounts if isinstance(mount, (BindMount, CacheMount)) and mount.input >= 0]
        return tuple((mount.input, mount.source) for mount in mounts)
    return ()

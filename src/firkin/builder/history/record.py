"""What is kept of a build. Pure. docs/dev/builds.md is the contract; a changed meaning needs a new HISTORY_VERSION."""

from __future__ import annotations

from typing import Literal

import msgspec

from firkin.builder.graph.key import Part
from firkin.text import Pairs

HISTORY_VERSION = 1

Status = Literal["running", "completed", "failed", "cancelled", "killed"]
StepStatus = Literal["", "running", "done", "cached", "failed", "cancelled"]


class StepRead(msgspec.Struct, frozen=True, array_like=True):
    """One part of a key that stands for files: the id of the step that they come from, and their path in it."""

    step: str
    path: str


class StepEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step: a vertex of the event stream, what is known of its key, or both.

    `title` is the instruction as written, without values of arguments. `kind` is the name of its operation, "" for
    what is no operation (a push). `place` says which look-up found its layer (`solve/lookup.py`), "" if it ran.
    `parts` are those of its key, their values as `redact.kept_parts` leaves them. `root` and `reads` name other steps;
    each read belongs to one `files` or `mounted files` part. `origin` is the image or address of a source. Steps
    that progress does not show (contexts) have status "".
    """

    id: str
    title: str
    kind: str = ""
    stage: str = ""
    platform: str = ""
    number: int = 0
    total: int = 0
    line: int = 0
    status: StepStatus = ""
    started_s: float = 0.0
    seconds: float = 0.0
    detail: str = ""
    key: str = ""
    layer: str = ""
    place: str = ""
    no_cache: bool = False
    parts: tuple[Part, ...] = ()
    root: str = ""
    reads: tuple[StepRead, ...] = ()
    origin: str = ""


class MadeImage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image that a build made."""

    digest: str
    config_digest: str = ""
    platform: str = ""
    size_bytes: int = 0


class KeptWarning(msgspec.Struct, frozen=True, omit_defaults=True):
    """One warning of a build; `line` is 0 for one that has no place in the Dockerfile."""

    code: str
    message: str
    line: int = 0


class KeptError(msgspec.Struct, frozen=True, omit_defaults=True):
    """The error that ended a build."""

    message: str
    code: str = ""
    exit_code: int = 1
    line: int = 0


class BuildRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One build, without its steps and its log.

    `slot` names context and Dockerfile: earlier builds with the same slot are those to compare with. `build_args` are
    names with keyed hashes of their values; `labels` and `secrets` are names. `ignore` is the hash of the ignore file.
    `lists` names the lists of files that the steps' keys stand for. Times are seconds since the epoch, `ended_s` 0
    while the build runs; of a killed build it is the time of its last event.
    """

    version: int
    id: str
    name: str
    slot: str = ""
    context: str = ""
    dockerfile: str = ""
    target: str = ""
    platforms: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    named_contexts: Pairs = ()
    build_args: Pairs = ()
    labels: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    network: str = ""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    require_cached: bool = False
    source_date_epoch: int | None = None
    status: Status = "running"
    started_s: float
    ended_s: float = 0.0
    error: KeptError | None = None
    total_steps: int = 0
    completed_steps: int = 0
    cached_steps: int = 0
    digest: str = ""
    images: tuple[MadeImage, ...] = ()
    names: tuple[str, ...] = ()
    warnings: tuple[KeptWarning, ...] = ()
    ignore: str = ""
    lists: tuple[str, ...] = ()
    clipped: bool = False  # the log is not whole


_encoder = msgspec.json.Encoder()


def encode_record(record: BuildRecord) -> bytes:
    """Return the record as one JSON line, without the line's end."""
    return _encoder.encode(record)


def encode_steps(steps: tuple[StepEntry, ...]) -> bytes:
    """Return the steps as one JSON line, without the line's end."""
    return _encoder.encode(steps)


class UnknownRecord(ValueError):
    """The document is no record of a version that is known here."""


def decode_record(line: bytes) -> BuildRecord:
    """Read a record; raises UnknownRecord."""
    return _decoded(line, BuildRecord)


def decode_steps(line: bytes) -> tuple[StepEntry, ...]:
    """Read the steps of a record; raises UnknownRecord."""
    from firkin.decode import decode_json

    try:
        return decode_json(line, tuple[StepEntry, ...])
    except msgspec.MsgspecError as error:
        raise UnknownRecord(str(error)) from error


def _decoded(line: bytes, kind: type[BuildRecord]) -> BuildRecord:
    from firkin.decode import decode_json

    try:
        record = decode_json(line, kind)
    except msgspec.MsgspecError as error:
        raise UnknownRecord(str(error)) from error
    if record.version != HISTORY_VERSION:
        raise UnknownRecord(f"version {record.version}")
    return record

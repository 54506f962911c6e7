"""Makes an Image from an ImagePlan and the layers of its steps. Pure.

Times: a history line of a layer has the layer's time (see docs/reproducible.md), or that of an earlier line
if this is later; lines without a layer take the time of the line before, or of the first new line.
Mirrors: buildkit exporter/containerimage/writer.go (normalizeLayersAndHistory).
"""

from __future__ import annotations

import msgspec

from firkin.builder.graph.step import ImagePlan
from firkin.oci import media
from firkin.oci.codec import MAX_DOCUMENT_BYTES
from firkin.oci.config import History, ImageConfig, PairMap, encode_config
from firkin.oci.image import Image, Layer, assemble
from firkin.text import FIRST_S, LATEST_S


def rfc3339(seconds: float) -> str:
    """Return a time as `2026-01-02T03:04:05.678Z`, without trailing zeros. Spec: RFC 3339."""
    # `time` is not for pure modules; civil-from-days by Howard Hinnant's algorithm.
    nanoseconds = round(seconds * 1_000_000) * 1000
    whole, fraction = divmod(nanoseconds, 1_000_000_000)
    days, rest = divmod(whole, 86400)
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    text = f"{year:04}-{month:02}-{day:02}T{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
    if fraction:
        text += f".{fraction:09}".rstrip("0")
    return text + "Z"


def seconds_of(text: str) -> int:
    """Return the whole seconds since 1970 of `2026-01-02T03:04:05.678Z` or with `+01:00`; 0 if it is no time.

    Years that RFC 3339 cannot express (before 0 and after 9999) are no times.
    """
    date, _, rest = text.strip().replace("t", "T").partition("T")
    clock, shift = rest[:8], rest[8:].lstrip(".0123456789")
    try:
        year, month, day = map(int, date.split("-"))
        hour, minute, second = map(int, clock.split(":"))
        offset = 0
        if shift not in ("Z", "z"):
            offset = int(shift[1:3]) * 3600 + int(shift[4:6]) * 60
            offset = -offset if shift[0] == "-" else offset
    except (ValueError, IndexError):
        return 0
    # days-from-civil by the same author
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
    seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset
    return seconds if FIRST_S <= seconds <= LATEST_S else 0


def assemble_image(
    plan: ImagePlan,
    layers: tuple[Layer, ...],
    layer_times: tuple[float | None, ...],
    *,
    family: media.Family,
    annotations: PairMap = (),
    epoch_s: int | None = None,
) -> Image:
    """Make the image of a target.

    `layer_times` has the time of each new layer, None for layers of the base. With `epoch_s` new
    history lines and the image itself carry that time. Raises ValueError when plan and layers differ, or for a
    configuration that is too large.
    """
    history = _with_times(plan.history, layer_times, epoch_s, plan.base_s)
    created = rfc3339(epoch_s) if epoch_s is not None else _last_time(history) or rfc3339(plan.base_s)
    config = encode_config(
        ImageConfig(
            platform=plan.platform,
            runtime=plan.runtime,
            diff_ids=tuple(layer.diff_id for layer in layers),
            history=history,
            created=created,
            author=plan.author,
        )
    )
    if len(config.raw) > MAX_DOCUMENT_BYTES:
        raise ValueError(
            f"its configuration has {len(config.raw)} bytes, over the {MAX_DOCUMENT_BYTES} that are read back: "
            "shorten its labels, variables or history"
        )
    return assemble(config, layers, family, annotations)


def _with_times(
    history: tuple[History, ...], layer_times: tuple[float | None, ...], epoch_s: int | None, base_s: int
) -> tuple[History, ...]:
    """Give every line a time: the epoch, the time of its layer, or that of a line near it."""
    if epoch_s is None:
        timed = _with_layer_times(history, layer_times, base_s)
    else:
        timed = tuple(line if line.created else _at(line, epoch_s) for line in history)
    first_new = next(
        (line.created for line, old in zip(timed, history, strict=True) if line.created and not old.created), ""
    )
    return _filled(timed, first_new or _last_time(timed) or rfc3339(base_s))


def _with_layer_times(
    history: tuple[History, ...], layer_times: tuple[float | None, ...], base_s: int
) -> tuple[History, ...]:
    """Give new lines of layers the time of their layer, or that of an earlier line if this is later."""
    times = iter(layer_times)
    latest: float = base_s
    timed: list[History] = []
    for line in history:
        time = None if line.empty_layer else next(times, None)
        if not line.created and time is not None:
            latest = max(latest, time)
            line = _at(line, latest)
        timed.append(line)
    return tuple(timed)


def _filled(timed: tuple[History, ...], first: str) -> tuple[History, ...]:
    """Give each line without a time the time of the line before it; the first line gets `first`."""
    last = first
    filled: list[History] = []
    seen_missing = False
    for line in timed:
        if not line.created:
            seen_missing = True
            line = msgspec.structs.replace(line, created=last)
        elif seen_missing:
            last = line.created
        filled.append(line)
    return tuple(filled)


def _at(line: History, seconds: float) -> History:
    return msgspec.structs.replace(line, created=rfc3339(seconds))


def _last_time(history: tuple[History, ...]) -> str:
    return next((line.created for line in reversed(history) if line.created), "")

"""The limits that the store is kept within. Pure."""

from __future__ import annotations

import msgspec


class GcRules(msgspec.Struct, frozen=True):
    """What a build removes from the store when it has ended. 0: no such rule; with both: old items, until it fits.

    `max_used_bytes` counts layers and blobs that no image with a name needs.
    """

    max_used_bytes: int = 0
    keep_age_s: float = 0.0


class HistoryRules(msgspec.Struct, frozen=True):
    """How many records of builds are kept, and in how much space; with 0 builds, none is written."""

    keep_builds: int = 100
    max_bytes: int = 128 << 20

"""How much one archive may unpack to. Pure."""

from __future__ import annotations

import msgspec


class UnpackLimits(msgspec.Struct, frozen=True):
    """What one archive (a layer, an ADD, a context) may unpack to, holes of its files included; 0: without limit.

    The /var/log/lastlog of a base with large user ids is a hole of hundreds of GiB.
    """

    size_bytes: int = 512 * 1024**3
    entries: int = 10_000_000


UNPACK_LIMITS = UnpackLimits()

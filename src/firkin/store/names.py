"""The names of images, read without opening a store. Does I/O.

For completion in a shell: it must be fast, and must neither make a store nor wait for anybody.
"""

from __future__ import annotations

from typing import Any

import msgspec

from firkin.linux.files import read_named

_MAX_BYTES = 64 * 1024 * 1024
_REF_NAME = "org.opencontainers.image.ref.name"


def names_in(root: str) -> tuple[str, ...]:
    """Return the tags in the store at `root`, as people write them; none if there is no store, or a damaged one."""
    names = ((item.get("annotations") or {}).get(_REF_NAME) for item in _entries(root))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name and "@" not in name))


def count_in(root: str) -> int:
    """Return how many images are in the store at `root`; 0 if there is no store, or a damaged one."""
    return len({item.get("digest") for item in _entries(root)})


def _entries(root: str) -> list[dict[str, Any]]:
    try:
        entries = msgspec.json.decode(read_named(f"{root}/oci/index.json", _MAX_BYTES))["manifests"]
        good = all(isinstance(item, dict) and isinstance(item.get("annotations") or {}, dict) for item in entries)
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return entries if good else []

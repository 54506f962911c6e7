"""The names of images, read without opening a store. Does I/O.

For completion in a shell: it must be fast, and must neither make a store nor wait for anybody.
"""

from __future__ import annotations

import msgspec

from firkin.linux.files import read_named

_MAX_BYTES = 64 * 1024 * 1024
_REF_NAME = "org.opencontainers.image.ref.name"


def names_in(root: str) -> tuple[str, ...]:
    """Return the tags in the store at `root`, as people write them; none if there is no store, or a damaged one."""
    try:
        document = msgspec.json.decode(read_named(f"{root}/oci/index.json", _MAX_BYTES))
        entries = [item.get("annotations") or {} for item in document["manifests"]]
        names = [entry.get(_REF_NAME, "") for entry in entries]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ()
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name and "@" not in name))

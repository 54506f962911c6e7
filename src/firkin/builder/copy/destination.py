"""The destination key: the facts about the root that a COPY depends on. Pure. The engine imports it.

A COPY to a path that does not exist yet depends only on that path and on the directories above it.
So its layer stays valid when another layer below it has changed.
"""

from __future__ import annotations

import msgspec

from firkin.builder.copy.owner import is_numeric
from firkin.builder.copy.select import follow, has_wildcard
from firkin.builder.graph.ops import Copy, PathSource
from firkin.layer.change import Entry, View
from firkin.oci.digest import framed_hash
from firkin.text import clean

_json = msgspec.json.Encoder()

_DOMAIN = b"landing"  # part of stored keys, so it must not change


def has_destination_key(op: Copy) -> bool:
    """Say whether the layer depends only on those facts about the root that `destination_of` hashes.

    It depends on more if owners are given by name, since names are looked up in the root. The same holds for
    several sources and for archives: one file may be a link through which the next is written elsewhere.
    """
    if op.link or op.parents or op.unpack != "never" or not is_numeric(op.chown):
        return False
    (source, *more) = op.sources
    return not more and isinstance(source, PathSource) and not (source.wildcard and has_wildcard(source.path))


def destination_of(op: Copy, root: View, latest_ns: int | None = None) -> str | None:
    """Return a digest of the facts about `root` that the COPY depends on; None if its destination exists.

    The layer repeats the directories above. Their times count up to `latest_ns`; later ones count as that.
    """
    target = follow(root.lstat, clean(op.dest))
    if not target or root.lstat(target) is not None:
        return None
    parts = [_DOMAIN, target.encode("utf-8", "surrogateescape")]
    above = ""
    for name in ["", *target.split("/")[:-1]]:
        above = f"{above}/{name}" if above else name
        parts.append(_facts(root.lstat(above), latest_ns))
    return framed_hash(parts)


def _facts(entry: Entry | None, latest_ns: int | None) -> bytes:
    if entry is None:
        return b""
    mtime_ns = entry.mtime_ns if latest_ns is None else min(entry.mtime_ns, latest_ns)
    xattrs = [(name, value.hex()) for name, value in entry.xattrs]
    return _json.encode((entry.kind, entry.mode, entry.uid, entry.gid, mtime_ns, xattrs))

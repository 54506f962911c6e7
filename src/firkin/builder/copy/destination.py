"""What a COPY asks of the root that it writes onto. Pure. The engine imports it.

A COPY to a place where nothing is yet looks at that place and at the directories above it, and at nothing else.
So its layer need not be made again because another layer below has changed.
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

_DOMAIN = b"landing"  # hashed into keys, so it stays what it was called first


def has_destination_key(op: Copy) -> bool:
    """Say whether the layer can depend on no more of the root than `destination_of` says.

    Not where names of owners are looked up in the root; nor where several things come together, or an archive:
    what one of them brings may be a link, through which the next writes elsewhere.
    """
    if op.link or op.parents or op.unpack != "never" or not is_numeric(op.chown):
        return False
    (source, *more) = op.sources
    return not more and isinstance(source, PathSource) and not (source.wildcard and has_wildcard(source.path))


def destination_of(op: Copy, root: View, latest_ns: int | None = None) -> str | None:
    """Return a digest of all that the COPY asks of `root`; None where there is something at its destination.

    The layer repeats the directories above. Their times count up to `latest_ns`.
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

"""What a layer's tar says of each path, and how two layers differ. Does I/O. Verify uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from firkin.layer.change import Entry
from firkin.layer.compress import iter_decompressed
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.tar import TarReader


class Content(msgspec.Struct, frozen=True):
    """One member: its entry, what it is a hard link to, and the sha256 of its bytes."""

    entry: Entry
    link: str = ""
    sha256: str = ""


def read_members(chunks: Iterable[bytes], limits: UnpackLimits = UNPACK_LIMITS) -> dict[str, Content]:
    """Return what a layer's blob holds, in its order; names without a slash at the end.

    Whiteouts keep their `.wh.` names. Raises ValueError for a damaged archive.
    """
    found: dict[str, Content] = {}
    reader = TarReader(iter_decompressed(chunks), limits)
    while (member := reader.next_member()) is not None:
        hasher = hashlib.sha256()
        for piece in reader.content():
            hasher.update(piece)
        name = member.name.removeprefix("./").rstrip("/")
        is_file = member.entry.kind == "file" and not member.is_link
        found[name] = Content(member.entry, member.link, hasher.hexdigest() if is_file else "")
    return found


class FileDifference(msgspec.Struct, frozen=True):
    """A path that is not the same in two layers; `what` says how, first the layer that was expected."""

    path: str
    what: tuple[str, ...]

    @property
    def only_time(self) -> bool:
        """Say whether the modification time is all that differs."""
        return len(self.what) == 1 and self.what[0].startswith("time ")


def compare_members(expected: dict[str, Content], found: dict[str, Content]) -> Iterator[FileDifference]:
    """Yield what differs, in the order of names."""
    for path in sorted(expected.keys() | found.keys()):
        old, new = expected.get(path), found.get(path)
        if old is None or new is None:
            yield FileDifference(path, ("is missing",) if new is None else ("was not there",))
        elif old != new:
            yield FileDifference(path, tuple(_differences(old, new)))
    if expected == found and list(expected) != list(found):
        path = next(name for name, other in zip(expected, found, strict=True) if name != other)
        yield FileDifference(path, ("stands elsewhere in the archive",))


def _differences(old: Content, new: Content) -> Iterator[str]:
    a, b = old.entry, new.entry
    if a.kind != b.kind:
        yield f"kind {a.kind} → {b.kind}"
        return
    if old.link != new.link:
        yield f"hard link {old.link or '(none)'} → {new.link or '(none)'}"
    if a.target != b.target:
        yield f"link target {a.target} → {b.target}"
    if a.mode != b.mode:
        yield f"mode {a.mode:04o} → {b.mode:04o}"
    if (a.uid, a.gid) != (b.uid, b.gid):
        yield f"owner {a.uid}:{a.gid} → {b.uid}:{b.gid}"
    if old.sha256 != new.sha256:
        size = f" ({a.size} → {b.size} bytes)" if a.size != b.size else f" ({a.size} bytes)"
        yield f"content{size}"
    if (a.major, a.minor) != (b.major, b.minor):
        yield f"device {a.major}:{a.minor} → {b.major}:{b.minor}"
    if a.xattrs != b.xattrs:
        names = sorted({name for name, _ in set(a.xattrs) ^ set(b.xattrs)})
        yield f"extended attributes {', '.join(names)}"
    if a.mtime_ns != b.mtime_ns:
        yield f"time {a.mtime_ns // 1_000_000_000} → {b.mtime_ns // 1_000_000_000}"

"""Reads the members of a layer's tar, and compares two layers. Does I/O. `builder.verify` uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

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
    """Return the members of a layer's tar, in its order; names without a slash at the end.

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
    """A path that differs in two layers; `what` says how, the expected layer first."""

    path: str
    what: tuple[str, ...]

    @property
    def only_time(self) -> bool:
        """Say whether the modification time is all that differs."""
        return len(self.what) == 1 and self.what[0].startswith("time ")


def compare_members(expected: dict[str, Content], found: dict[str, Content]) -> Iterator[FileDifference]:
    """Yield the differences, in the order of names."""
    for path in sorted(expected.keys() | found.keys()):
        old, new = expected.get(path), found.get(path)
        if old is None or new is None:
            yield FileDifference(path, ("is missing",) if new is None else ("was not there",))
        elif old != new:
            yield FileDifference(path, tuple(differences_of(old, new)))
    if expected == found and list(expected) != list(found):
        path = next(name for name, other in zip(expected, found, strict=True) if name != other)
        yield FileDifference(path, ("stands elsewhere in the archive",))


def differences_of(old: Content, new: Content) -> Iterator[str]:
    """Yield in words what differs between two members: `mode 0644 → 0600`, `content (3 → 4 bytes)`."""
    if old.entry.kind != new.entry.kind:
        yield f"kind {old.entry.kind} → {new.entry.kind}"
        return
    for what, value, told in _ASPECTS:
        if value(old) != value(new):
            yield f"{what} {told(old, new)}"


def _both(show: Callable[[Content], object]) -> Callable[[Content, Content], str]:
    return lambda old, new: f"{show(old)} → {show(new)}"


def _sizes(old: Content, new: Content) -> str:
    before, after = old.entry.size, new.entry.size
    return f"({before} → {after} bytes)" if before != after else f"({before} bytes)"


def _changed_attributes(old: Content, new: Content) -> str:
    return ", ".join(sorted({name for name, _ in set(old.entry.xattrs) ^ set(new.entry.xattrs)}))


_ASPECTS: tuple[tuple[str, Callable[[Content], object], Callable[[Content, Content], str]], ...] = (
    ("hard link", lambda of: of.link, _both(lambda of: of.link or "(none)")),
    ("link target", lambda of: of.entry.target, _both(lambda of: of.entry.target)),
    ("mode", lambda of: of.entry.mode, _both(lambda of: f"{of.entry.mode:04o}")),
    ("owner", lambda of: (of.entry.uid, of.entry.gid), _both(lambda of: f"{of.entry.uid}:{of.entry.gid}")),
    ("content", lambda of: of.sha256, _sizes),
    ("device", lambda of: (of.entry.major, of.entry.minor), _both(lambda of: f"{of.entry.major}:{of.entry.minor}")),
    ("extended attributes", lambda of: of.entry.xattrs, _changed_attributes),
    ("time", lambda of: of.entry.mtime_ns, _both(lambda of: of.entry.mtime_ns // 1_000_000_000)),
)
"""What may differ in a member, in the order of reports: its name, its value, the text for the two values."""

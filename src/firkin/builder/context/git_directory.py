"""Writes a `.git` with only the requested objects, the same bytes for the same commit. Does I/O.

A server may pack the same objects differently each time. If its packs were kept, every later step would miss the
cache. So the objects are written anew, in the order of their ids. Only `git` imports it.
Spec: git gitformat-pack, gitformat-index.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from dulwich.objects import Commit, ObjectID, Tag
from dulwich.pack import write_pack_index_v2

from firkin.builder.context.git_objects import TREE, Objects
from firkin.builder.context.git_pack import new_hash
from firkin.builder.context.git_view import DIRECTORY, SUBMODULE, read_tree
from firkin.registry.url import redact_url

if TYPE_CHECKING:
    from firkin.builder.context.git_view import GitView

_PIECE = 1 << 20
_MOST_OBJECTS = 200_000
"""Up to so many objects are written anew, without deltas; with more objects the server's packs are kept."""


class Kept(NamedTuple):
    """The contents of a `.git`: `commits` of history (0: all), and the ref that was asked for (or "")."""

    url: str
    wanted: str
    ref: str
    commits: int


def write_git_directory(view: GitView, kept: Kept, place: str) -> None:
    """Make a `.git` directory: a clone with the commit checked out, HEAD detached, and no credentials."""
    objects, commit = view.objects, view.commit
    writer = _Writer(place, view.time_s or 0)
    writer.file("HEAD", commit.id + b"\n")
    writer.file("config", _config(kept.url, len(commit.id) == 64))
    writer.file("description", b"Unnamed repository; edit this file 'description' to name the repository.\n")
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        os.makedirs(f"{place}/{name}", exist_ok=True)
    if kept.ref.startswith(("refs/heads/", "refs/tags/")) and ".." not in kept.ref:
        writer.file(kept.ref, kept.wanted.encode() + b"\n")
    history, shallow = _history(objects, commit, kept.commits)
    if shallow:
        writer.file("shallow", b"".join(sha + b"\n" for sha in sorted(shallow)))
    _write_index(view, f"{place}/index")
    ids = _reachable(objects, history, kept.wanted)
    if len(ids) <= _MOST_OBJECTS:
        _write_pack(objects, sorted(ids), writer)
    else:
        _take_packs(objects, writer)
    writer.end()


class _Writer:
    """Writes files with modes and times that do not depend on this machine."""

    def __init__(self, place: str, time_s: int) -> None:
        self.place = place
        self._time_s = time_s
        os.makedirs(place)

    def file(self, name: str, data: bytes) -> None:
        path = f"{self.place}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)
        os.chmod(path, 0o644)

    def end(self) -> None:
        """Set all times (and the modes of directories), after the last file was written."""
        for directory, _, names in os.walk(self.place, topdown=False):
            for name in names:
                os.utime(f"{directory}/{name}", (self._time_s, self._time_s))
            os.chmod(directory, 0o755)
            os.utime(directory, (self._time_s, self._time_s))


def _config(url: str, is_sha256: bool) -> bytes:
    quoted = redact_url(url).replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        "[core]", f"\trepositoryformatversion = {int(is_sha256)}", "\tfilemode = true", "\tbare = false",
        "\tlogallrefupdates = true",
        *(["[extensions]", "\tobjectformat = sha256"] if is_sha256 else []),
        '[remote "origin"]', f'\turl = "{quoted}"', "\tfetch = +refs/heads/*:refs/remotes/origin/*",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _history(objects: Objects, commit: Commit, commits: int) -> tuple[list[Commit], list[ObjectID]]:
    """Return the commits within `commits` generations (0: all), and those whose parents are left out."""
    found: list[Commit] = []
    shallow: list[ObjectID] = []
    seen = {commit.id}
    level = [commit]
    depth = 1
    while level:
        following = []
        for item in level:
            found.append(item)
            parents = item.parents
            if parents and (depth == commits or any(parent not in objects for parent in parents)):
                shallow.append(item.id)
                continue
            for parent in parents:
                if parent not in seen:
                    seen.add(parent)
                    above = objects.parsed(parent)
                    if isinstance(above, Commit):
                        following.append(above)
        level = following
        depth += 1
    return found, shallow


def _reachable(objects: Objects, history: list[Commit], wanted: str) -> set[ObjectID]:
    ids: set[ObjectID] = set()
    tag = objects.parsed(ObjectID(wanted.encode()))
    while isinstance(tag, Tag):
        ids.add(tag.id)
        tag = objects.parsed(tag.object[1])
    for commit in history:
        ids.add(commit.id)
        waiting = [commit.tree]
        while waiting:
            sha = waiting.pop()
            if sha in ids:
                continue
            ids.add(sha)
            for _, mode, below in read_tree(objects.read(sha, TREE), objects.id_bytes):
                if mode & 0o170000 == DIRECTORY:
                    waiting.append(below)
                elif mode & 0o170000 != SUBMODULE:
                    ids.add(below)
    return ids


def _write_pack(objects: Objects, ids: list[ObjectID], writer: _Writer) -> None:
    """Write the objects, without deltas and in the given order, as a pack with its index."""
    hasher = new_hash(objects.id_bytes)
    entries: list[tuple[bytes, int, int | None]] = []
    staged = f"{writer.place}/objects/pack/new"
    with open(staged, "xb") as file:

        def write(piece: bytes) -> None:
            file.write(piece)
            hasher.update(piece)

        write(b"PACK" + (2).to_bytes(4, "big") + len(ids).to_bytes(4, "big"))
        for sha in ids:
            at, sum_ = file.tell(), 0
            for piece in _deflated(objects, sha):
                write(piece)
                sum_ = zlib.crc32(piece, sum_)
            entries.append((bytes.fromhex(sha.decode()), at, sum_))
        file.write(hasher.digest())
    name = f"objects/pack/pack-{hasher.hexdigest()}"
    os.rename(staged, f"{writer.place}/{name}.pack")
    os.chmod(f"{writer.place}/{name}.pack", 0o444)
    with open(f"{writer.place}/{name}.idx", "xb") as file:
        write_pack_index_v2(file, entries, hasher.digest())
    os.chmod(f"{writer.place}/{name}.idx", 0o444)


def _deflated(objects: Objects, sha: ObjectID) -> Iterator[bytes]:
    """Yield an object in the format of a pack."""
    kind, size = objects.stat(sha)
    head = bytearray()
    byte, size = kind << 4 | size & 15, size >> 4
    while size:
        head.append(byte | 128)
        byte, size = size & 127, size >> 7
    head.append(byte)
    yield bytes(head)
    stream = zlib.compressobj()
    waiting = bytearray()
    for piece in objects.pieces(sha):
        waiting += piece
        while len(waiting) >= _PIECE:  # fixed sizes, so the bytes do not depend on the server's packing
            yield stream.compress(waiting[:_PIECE])
            del waiting[:_PIECE]
    yield stream.compress(waiting) + stream.flush()


def _take_packs(objects: Objects, writer: _Writer) -> None:
    """Keep the fetched packs unchanged; write the single objects as a pack."""
    for pack in objects.packs:
        name = f"{writer.place}/objects/pack/pack-{pack.checksum}"
        os.link(pack.path, f"{name}.pack")
        pack.write_index(f"{name}.idx")
        os.chmod(f"{name}.pack", 0o444)
        os.chmod(f"{name}.idx", 0o444)
    if objects.singles:
        _write_pack(objects, [ObjectID(sha.hex().encode()) for sha in sorted(objects.singles)], writer)


def _write_index(view: GitView, path: str) -> None:
    """Write an index without stat data: git compares the contents of files when it first needs to."""
    hasher = new_hash(view.objects.id_bytes)
    with open(path, "xb") as file:

        def write(piece: bytes) -> None:
            file.write(piece)
            hasher.update(piece)

        write(b"DIRC" + (2).to_bytes(4, "big") + view.total.files.to_bytes(4, "big"))
        for name, mode, sha in view.files():
            kind = mode & 0o170000
            plain = 0o100755 if mode & 0o111 else 0o100644
            stored = kind if kind in (0o120000, SUBMODULE) else plain
            head = bytes(24) + stored.to_bytes(4, "big") + bytes(12) + bytes.fromhex(sha.decode())
            entry = head + min(len(name), 0xFFF).to_bytes(2, "big") + name
            write(entry + bytes(8 - len(entry) % 8))
        file.write(hasher.digest())
    os.chmod(path, 0o644)

"""A `.git` with what was asked for and nothing else, the same bytes for the same commit. Does I/O.

Servers pack what they send as they like, in another way each time: kept as it came, every later step
would miss the cache. So the objects are written anew, in the order of their ids. Only context/git.py imports it.
Spec: git gitformat-pack, gitformat-index.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from dulwich.objects import Commit, ObjectID, Tag
from dulwich.pack import write_pack_index_v2

from firkin.context.git_view import read_tree
from firkin.registry.url import redact_url

if TYPE_CHECKING:
    from dulwich.repo import Repo

    from firkin.context.git_view import GitView

_COMMIT, _TREE, _TAG = 1, 2, 4
_DIRECTORY, _SUBMODULE = 0o040000, 0o160000
_MOST_OBJECTS = 200_000
"""So many are written one by one, whole; a longer history keeps the differences that it was sent as."""


class Kept(NamedTuple):
    """What a `.git` is to hold: `commits` of history (0: all), and the ref that was asked for (or "")."""

    url: str
    wanted: str
    ref: str
    commits: int


def write_git_directory(view: GitView, kept: Kept, place: str) -> None:
    """Make a directory that git takes for a clone with the commit checked out, detached, and no credentials."""
    repo, commit = view.repo, view.commit
    writer = _Writer(place, view.time_s or 0)
    writer.file("HEAD", commit.id + b"\n")
    writer.file("config", _config(kept.url, len(commit.id) == 64))
    writer.file("description", b"Unnamed repository; edit this file 'description' to name the repository.\n")
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        os.makedirs(f"{place}/{name}", exist_ok=True)
    if kept.ref.startswith(("refs/heads/", "refs/tags/")) and ".." not in kept.ref:
        writer.file(kept.ref, kept.wanted.encode() + b"\n")
    history, shallow = _history(repo, commit, kept.commits)
    if shallow:
        writer.file("shallow", b"".join(sha + b"\n" for sha in sorted(shallow)))
    entries = list(_tree_entries(repo, commit))
    writer.file("index", _index(entries, len(commit.id) // 2))
    ids = _reachable(repo, history, kept.wanted)
    if len(ids) <= _MOST_OBJECTS:
        _write_pack(repo, sorted(ids), writer)
    else:
        _take_packs(repo, writer)
    writer.end()


class _Writer:
    """Writes files with modes and times that do not depend on this machine."""

    def __init__(self, place: str, time_s: int) -> None:
        self.place = place
        self._time_s = time_s
        os.makedirs(place)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        path = f"{self.place}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)
        os.chmod(path, mode)

    def end(self) -> None:
        """Set times (and the modes of directories), when nothing is made any more."""
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


def _history(repo: Repo, commit: Commit, commits: int) -> tuple[list[Commit], list[ObjectID]]:
    """Return the commits within so many generations (0: all there are), and those whose parents are left out."""
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
            if parents and (depth == commits or any(parent not in repo.object_store for parent in parents)):
                shallow.append(item.id)
                continue
            for parent in parents:
                if parent not in seen:
                    seen.add(parent)
                    above = repo.object_store[parent]
                    if isinstance(above, Commit):
                        following.append(above)
        level = following
        depth += 1
    return found, shallow


def _reachable(repo: Repo, history: list[Commit], wanted: str) -> set[ObjectID]:
    ids: set[ObjectID] = set()
    tag = repo.object_store[ObjectID(wanted.encode())]
    while isinstance(tag, Tag):
        ids.add(tag.id)
        tag = repo.object_store[tag.object[1]]
    for commit in history:
        ids.add(commit.id)
        waiting = [commit.tree]
        while waiting:
            sha = waiting.pop()
            if sha in ids:
                continue
            ids.add(sha)
            for _, mode, below in read_tree(_raw_tree(repo, sha), len(sha) // 2):
                if mode & 0o170000 == _DIRECTORY:
                    waiting.append(below)
                elif mode & 0o170000 != _SUBMODULE:
                    ids.add(below)
    return ids


def _raw_tree(repo: Repo, sha: ObjectID) -> bytes:
    kind, raw = repo.object_store.get_raw(sha)
    if kind != _TREE:
        raise ValueError(f"{sha.decode()} is no tree")
    return raw


def _write_pack(repo: Repo, ids: list[ObjectID], writer: _Writer) -> None:
    """Write the objects, whole and in the order given, as a pack with its index."""
    hasher = hashlib.sha1(usedforsecurity=False) if len(ids[0]) == 40 else hashlib.sha256()
    entries: list[tuple[bytes, int, int | None]] = []
    staged = f"{writer.place}/objects/pack/new"
    at = 0
    with open(staged, "xb") as file:
        for piece in _pack_pieces(repo, ids):
            if at:
                entries.append((bytes.fromhex(ids[len(entries)].decode()), at, zlib.crc32(piece)))
            file.write(piece)
            hasher.update(piece)
            at += len(piece)
        file.write(hasher.digest())
    name = f"objects/pack/pack-{hasher.hexdigest()}"
    os.rename(staged, f"{writer.place}/{name}.pack")
    os.chmod(f"{writer.place}/{name}.pack", 0o444)
    writer.file(f"{name}.idx", b"", 0o644)
    with open(f"{writer.place}/{name}.idx", "wb") as file:
        write_pack_index_v2(file, entries, hasher.digest())
    os.chmod(f"{writer.place}/{name}.idx", 0o444)


def _pack_pieces(repo: Repo, ids: list[ObjectID]) -> Iterator[bytes]:
    """Yield the header of a pack, then each object."""
    yield b"PACK" + (2).to_bytes(4, "big") + len(ids).to_bytes(4, "big")
    for sha in ids:
        kind, raw = repo.object_store.get_raw(sha)
        size = len(raw)
        head = bytearray()
        byte, size = kind << 4 | size & 15, size >> 4
        while size:
            head.append(byte | 128)
            byte, size = size & 127, size >> 7
        head.append(byte)
        yield bytes(head) + zlib.compress(raw)


def _take_packs(repo: Repo, writer: _Writer) -> None:
    folder = f"{repo.controldir()}/objects/pack"
    for name in os.listdir(folder):
        if name.endswith((".pack", ".idx")):
            os.link(f"{folder}/{name}", f"{writer.place}/objects/pack/{name}")


def _tree_entries(repo: Repo, commit: Commit) -> Iterator[tuple[bytes, int, ObjectID]]:
    """Yield path, mode and id of everything in a commit but its directories."""
    waiting = [(b"", commit.tree)]
    while waiting:
        prefix, tree = waiting.pop()
        for name, mode, sha in read_tree(_raw_tree(repo, tree), len(tree) // 2):
            path = prefix + os.fsencode(name)
            if mode & 0o170000 == _DIRECTORY:
                waiting.append((path + b"/", sha))
            else:
                yield path, mode, sha


def _index(entries: Iterable[tuple[bytes, int, ObjectID]], id_bytes: int) -> bytes:
    """Return an index that says nothing of files on a disk: git looks at their contents when it first needs to."""
    pieces = []
    for path, mode, sha in sorted(entries):
        kind = mode & 0o170000
        plain = 0o100755 if mode & 0o111 else 0o100644
        stored = kind if kind in (0o120000, _SUBMODULE) else plain
        head = bytes(24) + stored.to_bytes(4, "big") + bytes(12) + bytes.fromhex(sha.decode())
        entry = head + min(len(path), 0xFFF).to_bytes(2, "big") + path
        pieces.append(entry + bytes(8 - len(entry) % 8))
    body = b"DIRC" + (2).to_bytes(4, "big") + len(pieces).to_bytes(4, "big") + b"".join(pieces)
    hasher = hashlib.sha1(usedforsecurity=False) if id_bytes == 20 else hashlib.sha256()
    hasher.update(body)
    return body + hasher.digest()

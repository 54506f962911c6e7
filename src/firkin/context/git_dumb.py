"""Git repositories behind a server of plain files (`git update-server-info`). Does I/O; only context/git.py imports it.

An object is fetched by its id and must have it: alone, or with the pack that its index names.
Alternates are not followed: a repository does not send its reader elsewhere.
Spec: git gitprotocol-http, "dumb"; gitformat-pack.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

from dulwich.objects import Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.pack import load_pack_index_file

from firkin.context.git_view import read_tree

if TYPE_CHECKING:
    from dulwich.repo import Repo

_MAX_OBJECT_BYTES = 2 << 30
_MAX_HEADER_BYTES = 32
_MAX_PACKS = 10_000
_DIRECTORY, _SUBMODULE = 0o040000, 0o160000
_HEX = frozenset(b"0123456789abcdef")

Get = Callable[[str], bytes | None]
"""Returns a file of the repository, None where there is none."""


def dumb_refs(get: Get) -> tuple[dict[str, str], str]:
    """Return the ids of all refs, HEAD and `REF^{}` included, and the branch that HEAD stands for, if any."""
    refs = {}
    branch = ""
    for line in (get("info/refs") or b"").splitlines():
        sha, _, name = line.partition(b"\t")
        if _is_id(sha) and name:
            refs[name.decode("utf-8", "surrogateescape")] = sha.decode()
    head = (get("HEAD") or b"").strip()
    if _is_id(head):
        refs["HEAD"] = head.decode()
    elif head.startswith(b"ref:"):
        branch = head[4:].strip().decode("utf-8", "surrogateescape")
        if branch in refs:
            refs["HEAD"] = refs[branch]
    return refs, branch


def _is_id(text: bytes) -> bool:
    return len(text) in (40, 64) and _HEX.issuperset(text)


def fetch_dumb(get: Get, repo: Repo, sha: str, commits: int) -> None:
    """Fetch a commit (or tag) with its files and so many commits of history (0: all). Raises ValueError, KeyError."""
    _DumbFetch(get, repo).run(ObjectID(sha.encode()), commits)


class _DumbFetch:
    def __init__(self, get: Get, repo: Repo) -> None:
        self._get = get
        self._store = repo.object_store
        self._format = repo.object_format
        self._packs: dict[str, object] | None = None  # those not yet fetched, by name; their indexes

    def run(self, sha: ObjectID, commits: int) -> None:
        level = [sha]
        seen: set[ObjectID] = set()
        depth = 0
        while level:
            following = []
            for item in level:
                if item in seen:
                    continue
                seen.add(item)
                found = self._have(item)
                while isinstance(found, Tag):
                    found = self._have(found.object[1])
                if not isinstance(found, Commit):
                    raise ValueError(f"{item.decode()} is no commit")
                self._take_tree(found.tree, seen)
                following += found.parents
            depth += 1
            level = following if not commits or depth < commits else []

    def _take_tree(self, sha: ObjectID, seen: set[ObjectID]) -> None:
        waiting = [sha]
        while waiting:
            tree = waiting.pop()
            if tree in seen:
                continue
            seen.add(tree)
            found = self._have(tree)
            if not isinstance(found, Tree):
                raise ValueError(f"{tree.decode()} is no tree")
            for _, mode, below in read_tree(bytes(found.as_raw_string()), len(tree) // 2):
                if mode & 0o170000 == _DIRECTORY:
                    waiting.append(below)
                elif mode & 0o170000 != _SUBMODULE and below not in seen:
                    seen.add(below)
                    self._have(below)

    def _have(self, sha: ObjectID) -> ShaFile:
        """Return an object, fetched if it is not here yet."""
        if sha not in self._store:
            name = sha.decode()
            loose = self._get(f"objects/{name[:2]}/{name[2:]}")
            if loose is not None:
                self._store.add_object(self._read_loose(loose, sha))
            else:
                self._take_pack_with(sha)
        return self._store[sha]

    def _read_loose(self, data: bytes, sha: ObjectID) -> ShaFile:
        stated = zlib.decompressobj().decompress(data, _MAX_HEADER_BYTES).partition(b"\0")[0]
        digits = stated.partition(b" ")[2]
        if not digits.isdigit():
            raise ValueError(f"object {sha.decode()} is damaged")
        if int(digits) > _MAX_OBJECT_BYTES:
            raise ValueError(f"object {sha.decode()} is too large")
        # No more than it says it holds: few bytes inflate to many. One more tells that it lied.
        plain = zlib.decompressobj().decompress(data, len(stated) + 1 + int(digits) + 1)
        hasher = hashlib.sha1(usedforsecurity=False) if len(sha) == 40 else hashlib.sha256()
        hasher.update(plain)
        head, _, body = plain.partition(b"\0")
        kind, _, size = head.partition(b" ")
        if hasher.hexdigest().encode() != sha or size != b"%d" % len(body):
            raise ValueError(f"object {sha.decode()} is damaged")
        return ShaFile.from_raw_string(
            {b"commit": 1, b"tree": 2, b"blob": 3, b"tag": 4}[kind], body, object_format=self._format
        )

    def _take_pack_with(self, sha: ObjectID) -> None:
        """Fetch the pack that has an object. Its objects get the ids that their contents have, not those it claims."""
        raw = bytes.fromhex(sha.decode())
        packs = self._list_packs()
        for name, index in packs.items():
            if index is None:
                data = self._get(f"objects/pack/{name}.idx") or b""
                index = packs[name] = load_pack_index_file("index", BytesIO(data), self._format)
            try:
                index.object_offset(raw)  # type: ignore[attr-defined]
            except KeyError:
                continue
            del packs[name]
            data = self._get(f"objects/pack/{name}.pack") or b""
            self._store.add_thin_pack(BytesIO(data).read, None)
            if sha in self._store:
                return
            raise ValueError(f"the pack {name} has no object {sha.decode()}")
        raise ValueError(f"the server has no object {sha.decode()}")

    def _list_packs(self) -> dict[str, object]:
        if self._packs is None:
            self._packs = {}
            for line in (self._get("objects/info/packs") or b"").splitlines()[:_MAX_PACKS]:
                name = line[2:].strip().decode("ascii", "replace").removesuffix(".pack")
                if line.startswith(b"P pack-") and name.removeprefix("pack-").isalnum():
                    self._packs[name] = None
        return self._packs

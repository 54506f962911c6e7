"""Git repositories behind a server of plain files (`git update-server-info`). Does I/O. Only `git_remote` imports it.

An object is fetched by its id, alone or with the pack whose index lists it. Its content must have that id.
Alternates are not followed: a repository must not send its readers to another server.
Spec: git gitprotocol-http, "dumb"; gitformat-pack.
"""

from __future__ import annotations

from collections.abc import Callable

from dulwich.object_format import SHA1, SHA256
from dulwich.objects import ObjectID
from dulwich.pack import PackIndex, load_pack_index

from firkin.builder.context.git_objects import COMMIT, TAG, TREE, Objects
from firkin.builder.context.git_view import DIRECTORY, SUBMODULE, read_tree

_MAX_PACKS = 10_000
_HEX = frozenset(b"0123456789abcdef")

Get = Callable[[str, str], bool]
"""Fetches a file of the repository to a path; says whether it exists."""
Read = Callable[[str], bytes | None]
"""Returns the bytes of a small file of the repository, None if it does not exist."""


def dumb_refs(get: Read) -> tuple[dict[str, str], str]:
    """Return the ids of all refs, HEAD and `REF^{}` included, and the branch that HEAD points to, if any."""
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


def fetch_dumb(get: Get, read: Read, objects: Objects, sha: str, commits: int) -> Objects:
    """Fetch a commit (or tag) with its files and `commits` commits of history (0: all). Raises ValueError, KeyError."""
    _DumbFetch(get, read, objects).run(ObjectID(sha.encode()), commits)
    return objects


class _DumbFetch:
    def __init__(self, get: Get, read: Read, objects: Objects) -> None:
        self._get = get
        self._read = read
        self._objects = objects
        self._packs: dict[str, PackIndex | None] | None = None  # the packs not yet fetched, by name, with their indexes
        self._count = 0

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
                while self._have(item) == TAG:
                    item = self._objects.parsed(item).object[1]  # type: ignore[attr-defined]
                if self._objects.stat(item)[0] != COMMIT:
                    raise ValueError(f"{item.decode()} is no commit")
                commit = self._objects.commit(item)
                self._take_tree(commit.tree, seen)
                following += commit.parents
            depth += 1
            level = following if not commits or depth < commits else []

    def _take_tree(self, sha: ObjectID, seen: set[ObjectID]) -> None:
        waiting = [sha]
        while waiting:
            tree = waiting.pop()
            if tree in seen:
                continue
            seen.add(tree)
            self._have(tree)
            for _, mode, below in read_tree(self._objects.read(tree, TREE), self._objects.id_bytes):
                if mode & 0o170000 == DIRECTORY:
                    waiting.append(below)
                elif mode & 0o170000 != SUBMODULE and below not in seen:
                    seen.add(below)
                    self._have(below)

    def _have(self, sha: ObjectID) -> int:
        """Return the kind of an object; fetch the object if it is missing."""
        if sha not in self._objects:
            name = sha.decode()
            path = self._place()
            if self._get(f"objects/{name[:2]}/{name[2:]}", path):
                self._objects.add_single(path, sha)
            else:
                self._take_pack_with(sha)
        return self._objects.stat(sha)[0]

    def _place(self) -> str:
        self._count += 1
        return f"{self._objects.directory}/fetched-{self._count}"

    def _take_pack_with(self, sha: ObjectID) -> None:
        """Fetch the pack that has an object. Ids are computed from the contents, not taken from the pack's index."""
        raw = bytes.fromhex(sha.decode())
        packs = self._list_packs()
        for name, index in packs.items():
            if index is None:
                path = self._place() + ".idx"
                if not self._get(f"objects/pack/{name}.idx", path):
                    raise ValueError(f"the server has no {name}.idx")
                index = packs[name] = load_pack_index(path, SHA1 if self._objects.id_bytes == 20 else SHA256)
            try:
                index.object_offset(raw)  # type: ignore[arg-type]
            except KeyError:
                continue
            del packs[name]
            path = self._place()
            if self._get(f"objects/pack/{name}.pack", path):
                self._objects.add_pack(path)
            if sha in self._objects:
                return
            raise ValueError(f"the pack {name} has no object {sha.decode()}")
        raise ValueError(f"the server has no object {sha.decode()}")

    def _list_packs(self) -> dict[str, PackIndex | None]:
        if self._packs is None:
            self._packs = {}
            for line in (self._read("objects/info/packs") or b"").splitlines()[:_MAX_PACKS]:
                name = line[2:].strip().decode("ascii", "replace").removesuffix(".pack")
                if line.startswith(b"P pack-") and name.removeprefix("pack-").isalnum():
                    self._packs[name] = None
        return self._packs

"""Commits in dulwich repositories, for the git servers of the tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import MemoryRepo

COMMIT_TIME = 1_600_000_000
_SUBMODULE = 0o160000


def commit_files(
    repo: MemoryRepo,
    files: Mapping[str, tuple[int, bytes]],
    ref: bytes = b"refs/heads/main",
    parents: Sequence[bytes] = (),
) -> str:
    """Make a commit of files (mode and bytes by path; the bytes of a submodule are its commit's id); return its id."""
    store = repo.object_store

    def tree_of(prefix: str) -> Any:
        tree = Tree()
        for item in sorted({path[len(prefix) :].partition("/")[0] for path in files if path.startswith(prefix)}):
            mode, data = files.get(prefix + item, (0o040000, b""))
            if mode == 0o040000:
                found: Any = tree_of(f"{prefix}{item}/")
            elif mode == _SUBMODULE:
                found = data
            else:
                blob = Blob.from_string(data)
                store.add_object(blob)
                found = blob.id
            tree.add(item.encode(), mode, found)
        store.add_object(tree)
        return tree.id

    commit = Commit()
    commit.tree = tree_of("")
    commit.author = commit.committer = b"A <a@b>"
    commit.author_time = commit.commit_time = COMMIT_TIME
    commit.author_timezone = commit.commit_timezone = 0
    commit.message = b"message"
    commit.parents = list(parents)  # type: ignore[arg-type]
    store.add_object(commit)
    repo.refs[ref] = commit.id  # type: ignore[index]
    repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")  # type: ignore[arg-type]
    return commit.id.decode()

"""Git repositories as trees, through dulwich: no git program is needed. Does I/O; contexts import it.

A commit is fetched, as a rule with depth 1, into a scratch repository and read from its objects; nothing is
checked out, so modes do not depend on an umask: 0644, 0755, owner 0:0, the commit's time.
Mirrors: moby/buildkit source/git.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from struct import error as StructError
from typing import TYPE_CHECKING, NamedTuple
from weakref import finalize
from zlib import error as ZlibError

from dulwich.client import GitClient, LsRemoteResult, SSHGitClient, TCPGitClient
from dulwich.config import ConfigFile, parse_submodules
from dulwich.errors import (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    GitProtocolError,
    HangupException,
    NotGitRepository,
)
from dulwich.objects import Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.repo import Repo

from firkin.context.archive import Scratch
from firkin.context.directory import DirectoryContext
from firkin.context.git_address import Address, GitCredentials, parse_address, submodule_url
from firkin.context.git_transport import HttpGitClient, SshProgram
from firkin.context.https import Web
from firkin.context.views import Below, check_names
from firkin.errors import ContextError
from firkin.graph.ops import Git
from firkin.layer.change import Content, Entry, View
from firkin.registry.url import redact_url, split_host
from firkin.request import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dulwich.refs import Ref

_HEX = frozenset("0123456789abcdef")
_MAX_DEPTH = 10  # of submodules in submodules
_MAX_REPOSITORIES = 1000
_MAX_MODULES_BYTES = 1 << 20
# What dulwich raises for servers and repositories that are not what they should be.
_FAILURES = (
    GitProtocolError, HangupException, NotGitRepository, FileFormatException, ChecksumMismatch, ApplyDeltaError,
    OSError, KeyError, IndexError, ValueError, AssertionError, EOFError, StructError, ZlibError,
)  # fmt: skip
_LINK, _SUBMODULE, _DIRECTORY = 0o120000, 0o160000, 0o040000


class GitTools(NamedTuple):
    """What fetching needs. `secrets` are GIT_AUTH_TOKEN and GIT_AUTH_HEADER (also `NAME.HOST`) of the
    request; `environ` holds GIT_USERNAME, GIT_PASSWORD, GIT_TOKEN, and what ssh is to see. `home` is the address
    that credentials without a host were given for, "" for that of the repository itself."""

    settings: RegistrySettings
    scratch: Scratch
    secrets: Mapping[str, bytes]
    environ: Mapping[str, str]
    cancelled: Callable[[], bool] | None = None
    home: str = ""


def open_git(op: Git, tools: GitTools, commits: int = 1) -> View:
    """Return the files of a commit (below `subdir`); `.git` has so many commits (0: all). Raises ContextError."""
    commits = commits if op.keep_git_dir else 1
    found = _Fetcher(tools, op.url).fetch(op.url, op.ref, op.checksum, op.submodules, 0, commits)
    subdir = op.subdir.strip("/")
    if subdir and subdir != ".":
        parts = [part for part in subdir.split("/") if part not in ("", ".")]
        entry = None if ".." in parts else found.lstat("/".join(parts))
        if entry is None or entry.kind != "dir":
            raise ContextError(f"{redact_url(op.url)} has no directory `{op.subdir}`", code="git-subdir")
        return Below(found, "/".join(parts))
    if op.keep_git_dir:
        found.keep_git_directory(op.url)
    return found


class _Fetcher:
    """Fetches a repository, and those that it names as its submodules."""

    def __init__(self, tools: GitTools, url: str) -> None:
        self._tools = tools
        self._left = _MAX_REPOSITORIES
        try:
            home = parse_address(tools.home or url).origin
        except ValueError as error:
            raise ContextError(f"this is no git repository: {error}", code="git-url") from error
        self._credentials = GitCredentials(tools.secrets, tools.environ, home)

    def fetch(self, url: str, ref: str, checksum: str, submodules: bool, depth: int, commits: int) -> GitView:
        """Return the tree of a commit, submodules included where they are wanted. Raises ContextError."""
        shown = redact_url(url)
        try:
            remote = _Remote(url, self._tools, self._credentials)
            try:
                sha, tag = remote.resolve(ref)
                if checksum and not (sha.startswith(checksum) or (tag and tag.startswith(checksum))):
                    raise ContextError(
                        f"{shown}: expected checksum to match {checksum}, got {tag or sha}", code="git-checksum"
                    )
                repo = remote.fetch(sha, commits)
            finally:
                remote.close()
            commit = _commit(repo, sha)
        except _FAILURES as error:
            raise ContextError(
                f"cannot fetch the git repository {shown}: {_reason(error)}", code="git", hints=self._hints(url)
            ) from error
        if checksum and not (commit.id.decode().startswith(checksum) or sha.startswith(checksum) or tag):
            raise ContextError(f"{shown}: expected checksum to match {checksum}, got {sha}", code="git-checksum")
        view = GitView(repo, commit)
        if submodules:
            self._add_submodules(view, url, depth)
        return view

    def _add_submodules(self, view: GitView, url: str, depth: int) -> None:
        """Fetch what .gitmodules names, each at the commit that the tree names."""
        shown = redact_url(url)
        entry = view.lstat(".gitmodules")
        if entry is None or entry.kind != "file":
            return
        if depth >= _MAX_DEPTH:
            raise ContextError(f"{shown}: submodules are nested too deep", code="git-submodule")
        addresses = _submodules(view, entry, shown)
        for path, sha in view.gitlinks():
            address = addresses.get(path)
            if address is None:
                raise ContextError(f"{shown}: no url for the submodule at `{path}`", code="git-submodule")
            self._left -= 1
            if not self._left:
                raise ContextError(f"{shown}: more than {_MAX_REPOSITORIES} submodules", code="git-submodule")
            try:
                place = submodule_url(url, address)
            except ValueError as error:
                raise ContextError(
                    f"{shown}: the submodule at `{path}` cannot be fetched: {error}",
                    code="git-submodule",
                    hints=("`submodules=false` in the address leaves submodules out",),
                ) from error
            view.attach(path, self.fetch(place, sha, "", True, depth + 1, 1))

    def _hints(self, url: str) -> tuple[str, ...]:
        address = _address_or_none(url)
        if address is None or address.scheme not in ("http", "https"):
            return ()
        if address.origin == self._credentials.home:
            return ("for a private repository pass `--secret id=GIT_AUTH_TOKEN,env=...`",)
        if address.scheme == "http":
            return ()
        return (
            "no credentials are sent there: those for another host have to name it, as in "
            f"`--secret id=GIT_AUTH_TOKEN.{address.host},env=...`",
        )


def _address_or_none(url: str) -> Address | None:
    try:
        return parse_address(url)
    except ValueError:
        return None


def _submodules(view: GitView, entry: Entry, shown: str) -> dict[str, str]:
    """Return the address of each submodule in .gitmodules by its path."""
    from io import BytesIO

    data = view.content(".gitmodules")
    if entry.size > _MAX_MODULES_BYTES or not isinstance(data, bytes):
        raise ContextError(f"{shown}: .gitmodules is too large", code="git-submodule")
    try:
        config = ConfigFile.from_file(BytesIO(data))
        return {os.fsdecode(path): os.fsdecode(address) for path, address, _ in parse_submodules(config)}
    except _FAILURES as error:
        raise ContextError(f"{shown}: .gitmodules cannot be read: {_reason(error)}", code="git-submodule") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _commit(repo: Repo, sha: str) -> Commit:
    """Return the commit that an object is or, being a tag, names."""
    found: ShaFile = repo.object_store[ObjectID(sha.encode())]
    while isinstance(found, Tag):
        found = repo.object_store[found.object[1]]
    if not isinstance(found, Commit):
        raise ValueError(f"{sha} is no commit")
    return found


class _Remote:
    """A repository elsewhere."""

    def __init__(self, url: str, tools: GitTools, credentials: GitCredentials) -> None:
        self._tools = tools
        self._web: Web | None = None
        address = parse_address(url)
        self._path = address.path
        self._client = self._connect(address, credentials)
        self._refs: LsRemoteResult | None = None

    def _connect(self, address: Address, credentials: GitCredentials) -> GitClient:
        if address.scheme in ("http", "https"):
            header = credentials.authorization(address)
            origin = f"{address.scheme}://{address.host.lower()}"
            self._web = Web(
                self._tools.settings,
                cancelled=self._tools.cancelled,
                authorizations={origin: header} if header else {},
            )
            login = f"{address.login}@" if address.login else ""
            return HttpGitClient(f"{address.scheme}://{login}{address.host}/", self._web)
        host, port = split_host(address.host)
        number = int(port) if port else None
        if address.scheme == "git":
            return TCPGitClient(host, number)
        return SSHGitClient(host, number, address.user or None, vendor=SshProgram(self._tools.environ))

    def close(self) -> None:
        """Close connections."""
        if self._web is not None:
            self._web.close()

    def resolve(self, ref: str) -> tuple[str, str]:
        """Return the commit's id (or the wanted object's), and the id of the tag object it was named by.

        A branch goes before a tag of the same name.
        """
        if len(ref) in (40, 64) and _HEX.issuperset(ref):
            return ref, ""
        self._refs = self._client.get_refs(self._path.encode())
        refs = {bytes(name).decode("utf-8", "surrogateescape"): sha for name, sha in self._refs.refs.items() if sha}
        if not refs:
            raise ValueError("the repository is empty")
        wanted = ref or "HEAD"
        names = (wanted,) if wanted == "HEAD" or wanted.startswith("refs/") else (
            f"refs/heads/{wanted}", f"refs/tags/{wanted}", f"refs/{wanted}", wanted,
        )  # fmt: skip
        for name in names:
            sha = refs.get(name)
            if sha is not None:
                peeled = refs.get(name + "^{}")
                return (peeled or sha).decode(), sha.decode() if peeled else ""
        near = sorted(name.partition("/")[2].partition("/")[2] for name in refs if not name.endswith("^{}"))
        from difflib import get_close_matches

        close = get_close_matches(wanted, [name for name in near if name], 1)
        raise ContextError(
            f"repository does not contain ref {wanted}",
            code="git-ref",
            hints=(f"did you mean `{close[0]}`?",) if close else (),
        )

    def fetch(self, sha: str, commits: int) -> Repo:
        """Fetch a commit with so much of its history (0: all), or all where the server gives no single commits."""
        wanted = ObjectID(sha.encode())
        directory = self._tools.scratch("git")
        repo = Repo.init(directory, mkdir=True)

        def want(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:
            return [wanted]

        try:
            self._client.fetch(self._path.encode(), repo, determine_wants=want, depth=commits or None)
            if wanted in repo.object_store:
                return repo
        except (GitProtocolError, HangupException):
            pass  # not every server gives commits by their ids
        directory = self._tools.scratch("git")
        repo = Repo.init(directory, mkdir=True)
        self._client.fetch(self._path.encode(), repo)
        if wanted not in repo.object_store:
            raise ValueError(f"it has no commit {sha}")
        return repo


class GitView:
    """The tree of a commit as a View, read from the repository's objects."""

    def __init__(self, repo: Repo, commit: Commit) -> None:
        self.repo = repo
        self.commit = commit
        finalize(self, repo.close)  # also at exit, before modules that closing needs are gone
        self.time_s: int | None = int(commit.commit_time)
        self._time_ns = self.time_s * 1_000_000_000
        self._trees: dict[str, dict[str, tuple[int, ObjectID]]] = {}
        self._inside: dict[str, View] = {}

    def attach(self, path: str, view: View) -> None:
        """Show another tree at a directory: a submodule."""
        self._inside[path] = view

    def gitlinks(self) -> Iterator[tuple[str, str]]:
        """Yield path and commit id of each submodule."""
        waiting = [""]
        while waiting:
            path = waiting.pop()
            for name, (mode, sha) in self._tree(path).items():
                below = f"{path}/{name}" if path else name
                if mode & 0o170000 == _DIRECTORY:
                    waiting.append(below)
                elif mode & 0o170000 == _SUBMODULE:
                    yield below, sha.decode()

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None."""
        if not path:
            return Entry("dir", 0o755, mtime_ns=self._time_ns)
        inside = self._in(path)
        if inside is not None:
            return inside[0].lstat(inside[1])
        found = self._find(path)
        if found is None:
            return None
        mode, sha = found
        kind = mode & 0o170000
        if kind in (_DIRECTORY, _SUBMODULE):
            return Entry("dir", 0o755, mtime_ns=self._time_ns)
        blob = self._object(sha)
        if kind == _LINK:
            return Entry("symlink", 0o777, mtime_ns=self._time_ns, target=os.fsdecode(blob.as_raw_string()))
        return Entry("file", 0o755 if mode & 0o111 else 0o644, size=blob.raw_length(), mtime_ns=self._time_ns)

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted by their bytes."""
        inside = self._in(path) if path else None
        if inside is not None:
            return inside[0].iterdir(inside[1])
        names = list(self._tree(path))
        if not path:
            names += [name for name in self._inside if "/" not in name and name not in names]
        return sorted(names, key=os.fsencode)

    def content(self, path: str) -> Content:
        """Return a file's bytes; raises KeyError."""
        inside = self._in(path)
        if inside is not None:
            return inside[0].content(inside[1])
        found = self._find(path)
        if found is None:
            raise KeyError(path)
        return bytes(self._object(found[1]).as_raw_string())

    def keep_git_directory(self, url: str) -> None:
        """Show a `.git` with the commit checked out (detached), its index, and the remote without credentials."""
        from dulwich.index import IndexEntry

        control = self.repo.controldir()
        with open(f"{control}/HEAD", "wb") as file:
            file.write(self.commit.id + b"\n")
        config = self.repo.get_config()
        config.set((b"remote", b"origin"), b"url", redact_url(url).encode())
        config.write_to_path()
        index = self.repo.open_index()
        for entry in self.repo.object_store.iter_tree_contents(self.commit.tree):
            index[entry.path] = IndexEntry(0, 0, 0, 0, entry.mode, 0, 0, 0, entry.sha)
        index.write()
        self._inside[".git"] = DirectoryContext(control)

    def _in(self, path: str) -> tuple[View, str] | None:
        for prefix, view in self._inside.items():
            if path == prefix:
                return view, ""
            if path.startswith(prefix + "/"):
                return view, path[len(prefix) + 1 :]
        return None

    def _object(self, sha: ObjectID) -> ShaFile:
        try:
            return self.repo.object_store[sha]
        except _FAILURES as error:
            raise ContextError(
                f"the git repository is damaged: object {sha.decode()}: {_reason(error)}", code="git"
            ) from error

    def _find(self, path: str) -> tuple[int, ObjectID] | None:
        parent, _, name = path.rpartition("/")
        return self._tree(parent).get(name)

    def _tree(self, path: str) -> dict[str, tuple[int, ObjectID]]:
        known = self._trees.get(path)
        if known is None:
            sha: ObjectID | None = self.commit.tree
            if path:
                found = self._find(path)
                sha = found[1] if found is not None and found[0] & 0o170000 == _DIRECTORY else None
            tree = self._object(sha) if sha is not None else None
            known = {}
            if isinstance(tree, Tree):
                items = read_tree(bytes(tree.as_raw_string()), len(self.commit.tree) // 2)
                _check_tree([name for name, _, _ in items], path)
                known = {name: (mode, item) for name, mode, item in items}
            self._trees[path] = known
        return known


def read_tree(raw: bytes, id_bytes: int) -> list[tuple[str, int, ObjectID]]:
    """Return name, mode and id of each entry of a tree object, doubles included. Raises ContextError.

    Spec: git Documentation/technical, `MODE SP NAME NUL ID`, the id in binary.
    """
    entries = []
    at = 0
    while at < len(raw):
        space = raw.find(b" ", at)
        end = raw.find(b"\0", space)
        mode = raw[at:space]
        if space < 0 or end < 0 or not mode.isdigit() or len(mode) > 7 or end + 1 + id_bytes > len(raw):
            raise ContextError("the git repository is damaged: a tree object cannot be read", code="git")
        name, at = os.fsdecode(raw[space + 1 : end]), end + 1 + id_bytes
        try:
            entries.append((name, int(mode, 8), ObjectID(raw[end + 1 : at].hex().encode())))
        except ValueError as error:
            raise ContextError(f"the git repository is damaged: `{name}` has no mode", code="git") from error
    return entries


def _check_tree(names: list[str], path: str) -> None:
    """Refuse what git would not check out: no names, names twice, and a `.git` of the tree's own."""
    check_names(names, path)
    for name in names:
        if name.lower() == ".git":
            where = f" in `{path}`" if path else ""
            raise ContextError(f"the git tree has a `{name}`{where}, which git refuses as well", code="context-name")

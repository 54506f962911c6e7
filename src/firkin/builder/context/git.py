"""Git repositories as trees, through dulwich: no git program is needed. Does I/O. Only remote.py imports it.

A commit is fetched, usually with depth 1, into a scratch repository and read from its objects. Nothing is
checked out, so modes do not depend on an umask: files have mode 0644 or 0755, owner 0:0 and the commit's time.
Mirrors: moby/buildkit source/git.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

from dulwich.config import ConfigFile, parse_submodules
from dulwich.objects import ObjectID

from firkin.builder.context.archive import Scratch
from firkin.builder.context.directory import DirectoryContext
from firkin.builder.context.git_address import Address, GitCredentials, parse_address, submodule_url
from firkin.builder.context.git_directory import Kept, write_git_directory
from firkin.builder.context.git_pack import Budget
from firkin.builder.context.git_remote import Remote
from firkin.builder.context.git_view import FAILURES, GitView, failure_text
from firkin.builder.context.views import Below
from firkin.builder.graph.ops import Git
from firkin.errors import ContextError
from firkin.hints import Hint
from firkin.layer.change import Entry, View
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.tar import LimitReached, limit_hints
from firkin.registry.settings import RegistrySettings
from firkin.registry.url import redact_url

_HEX = frozenset("0123456789abcdef")
_MAX_DEPTH = 10  # of submodules in submodules
_MAX_REPOSITORIES = 1000
_MAX_MODULES_BYTES = 1 << 20


class GitTools(NamedTuple):
    """Settings of a fetch. `secrets` are GIT_AUTH_TOKEN and GIT_AUTH_HEADER (also `NAME.HOST`) of the
    request; `environ` holds GIT_USERNAME, GIT_PASSWORD, GIT_TOKEN, and the environment of ssh. `home` is the address
    that credentials without a host were given for, "" for that of the repository itself. `limits` hold for all fetched
    objects and for the tree, submodules included."""

    settings: RegistrySettings
    scratch: Scratch
    secrets: Mapping[str, bytes]
    environ: Mapping[str, str]
    cancelled: Callable[[], bool] | None = None
    home: str = ""
    limits: UnpackLimits = UNPACK_LIMITS


def open_git(op: Git, tools: GitTools, commits: int = 1) -> View:
    """Return the files of a commit (below `subdir`); `.git` has `commits` commits (0: all). Raises ContextError."""
    if op.checksum and not _HEX.issuperset(op.checksum.lower()):
        raise ContextError(
            f"invalid checksum {op.checksum} for a git URL: it is no hexadecimal commit hash", code="git-checksum"
        )
    subdir = "/".join(part for part in op.subdir.split("/") if part not in ("", "."))
    keep = op.keep_git_dir and not subdir
    found = _Fetcher(tools, op.url).fetch(op, 0, commits if keep else 1, keep)
    if not subdir:
        return found
    entry = None if ".." in subdir.split("/") else found.lstat(subdir)
    if entry is None or entry.kind != "dir":
        raise ContextError(f"{redact_url(op.url)} has no directory `{op.subdir}`", code="git-subdir")
    return Below(found, subdir)


class _Fetcher:
    """Fetches a repository and its submodules."""

    def __init__(self, tools: GitTools, url: str) -> None:
        self._tools = tools
        self._left = _MAX_REPOSITORIES
        try:
            home = parse_address(tools.home or url).origin
        except ValueError as error:
            raise ContextError(f"this is no git repository: {error}", code="git-url") from error
        self._downloaded = Budget(tools.limits, "what is fetched of a repository")
        self._fetched = Budget(tools.limits, "what is fetched of a repository")
        self._tree = Budget(tools.limits, "a git tree")
        self._credentials = GitCredentials(tools.secrets, tools.environ, home)

    def fetch(self, op: Git, depth: int, commits: int, keep: bool) -> GitView:
        """Return the tree of a commit, with its submodules if the op asks for them. Raises ContextError."""
        shown = redact_url(op.url)
        try:
            remote = Remote(
                op.url, self._tools.settings, self._tools.cancelled, self._tools.environ, self._credentials,
                self._downloaded,
            )  # fmt: skip
            try:
                found = remote.resolve(op.ref)
                if found.commit:
                    _check_commit(op, found.wanted, found.commit)
                # Only the server says which commit a tag names. If the checksum is that of the tag, the tag itself is
                # fetched, since its content names the commit.
                by_tag = bool(op.checksum) and not found.commit.startswith(op.checksum)
                wanted = found.wanted if keep or by_tag or not found.commit else found.commit
                objects = remote.fetch(wanted, commits, self._tools.scratch, self._fetched)
            finally:
                remote.close()
            commit = objects.commit(ObjectID(wanted.encode()))
            _check_commit(op, found.wanted, commit.id.decode())
            view = GitView(objects, commit, self._tree)
            if keep:
                place = self._tools.scratch("git") + "/.git"
                write_git_directory(view, Kept(op.url, wanted, found.ref, commits), place)
                view.attach(".git", DirectoryContext(place))
        except FAILURES as error:
            raise ContextError(
                f"cannot fetch the git repository {shown}: {failure_text(error)}",
                code="git",
                hints=limit_hints(error) if isinstance(error, LimitReached) else self._hints(op.url),
            ) from error
        if op.submodules:
            self._add_submodules(view, op.url, depth)
        return view

    def _add_submodules(self, view: GitView, url: str, depth: int) -> None:
        """Fetch the submodules in .gitmodules, each at the commit that the tree names."""
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
            view.attach(path, self.fetch(Git(place, sha), depth + 1, 1, False))

    def _hints(self, url: str) -> tuple[Hint, ...]:
        address = _address_or_none(url)
        if address is None or address.scheme not in ("http", "https"):
            return ()
        if address.origin == self._credentials.home:
            return (Hint.of("git-secret"),)
        if address.scheme == "http":
            return ()
        return (Hint.of("git-host-secret", host=address.host),)


def _address_or_none(url: str) -> Address | None:
    try:
        return parse_address(url)
    except ValueError:
        return None


def _include_nothing(path: object) -> NoReturn:
    """Refuse an `include` in a .gitmodules: it names a file of this machine. Git ignores it there as well."""
    raise PermissionError(f"{path} is not included")


def _submodules(view: GitView, entry: Entry, shown: str) -> dict[str, str]:
    """Return the address of each submodule in .gitmodules by its path. Raises ContextError."""
    from io import BytesIO

    if entry.size > _MAX_MODULES_BYTES:
        raise ContextError(f"{shown}: .gitmodules is too large", code="git-submodule")
    data = view.read(".gitmodules")
    try:
        config = ConfigFile.from_file(BytesIO(data), file_opener=_include_nothing)
        return {os.fsdecode(path): os.fsdecode(address) for path, address, _ in parse_submodules(config)}
    except FAILURES as error:
        raise ContextError(
            f"{shown}: .gitmodules cannot be read: {failure_text(error)}", code="git-submodule"
        ) from error


def _check_commit(op: Git, wanted: str, commit: str) -> None:
    """Compare a commit (or the tag that names it) with the checksum. Raises ContextError."""
    if not wanted.startswith(op.checksum) and not commit.startswith(op.checksum):
        got = wanted if wanted == commit else f"{wanted} or {commit}"
        raise ContextError(
            f"{redact_url(op.url)}: expected checksum to match {op.checksum}, got {got}", code="git-checksum"
        )

"""A remote git repository: its refs, and one commit of it. Does I/O. Only `git` imports it.

It is reached over http(s) with a git server or a server of plain files, over ssh, or by the git protocol. Ids of
objects are sha1 or sha256.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dulwich.client import GitClient
from dulwich.errors import GitProtocolError, HangupException
from dulwich.object_store import ObjectStoreGraphWalker
from dulwich.objects import ObjectID

from firkin.builder.context.archive import Scratch
from firkin.builder.context.git_address import Address, GitCredentials, parse_address
from firkin.builder.context.git_dumb import dumb_refs, fetch_dumb
from firkin.builder.context.git_objects import Objects
from firkin.builder.context.git_pack import Budget
from firkin.builder.context.git_transport import (
    MAX_TALK_BYTES,
    HttpGitClient,
    PlainFiles,
    SshGitClient,
    SshProgram,
    Talk,
    TcpGitClient,
)
from firkin.builder.context.https import Web, user_information
from firkin.errors import ContextError
from firkin.registry.settings import RegistrySettings
from firkin.registry.url import split_host, split_url

if TYPE_CHECKING:
    from dulwich.refs import Ref

_HEX = frozenset("0123456789abcdef")


class Found(NamedTuple):
    """A resolved ref.

    `wanted` is the id of the object, a commit or an annotated tag. `commit` is the id of the commit that it leads to,
    "" if only an object's id was given. `ref` is the full name of the ref, "" for an object's id.
    """

    wanted: str
    commit: str
    ref: str


class Remote:
    """A remote repository. The caller closes it."""

    def __init__(
        self,
        url: str,
        settings: RegistrySettings,
        cancelled: Callable[[], bool] | None,
        environ: Mapping[str, str],
        credentials: GitCredentials,
        downloaded: Budget,
    ) -> None:
        address = parse_address(url)
        self._downloaded = downloaded
        self._talk = Talk()
        self._path = address.path
        self._web: Web | None = None
        self._place = ""
        self._client = self._connect(address, settings, cancelled, environ, credentials)

    def _connect(
        self,
        address: Address,
        settings: RegistrySettings,
        cancelled: Callable[[], bool] | None,
        environ: Mapping[str, str],
        credentials: GitCredentials,
    ) -> GitClient:
        if address.scheme in ("http", "https"):
            # The address loses its login here, because dulwich puts addresses into its messages.
            self._place = f"{address.scheme}://{address.host}/{address.path.strip('/')}"
            login = user_information(f"{address.scheme}://{address.login}@{address.host}") if address.login else ""
            header = login or credentials.authorization(address)
            origin = split_url(self._place).origin
            self._web = Web(settings, cancelled=cancelled, authorizations={origin: header} if header else {})
            return HttpGitClient(self._place, self._web, self._talk)
        host, port = split_host(address.host)
        number = int(port) if port else None
        if address.scheme == "git":
            return TcpGitClient(host, number, self._talk, settings.timeout_s)
        return SshGitClient(host, number, address.user or None, SshProgram(environ), self._talk)

    def close(self) -> None:
        """Close connections."""
        if self._web is not None:
            self._web.close()

    def resolve(self, ref: str) -> Found:
        """Resolve a branch, tag, other ref or commit id (HEAD for ""). A branch wins over a tag of the same name.

        Raises ContextError for an unknown ref, ValueError for an empty repository.
        """
        if len(ref) in (40, 64) and _HEX.issuperset(ref):
            return Found(ref, "", "")
        refs, head = self._refs()
        if not refs:
            raise ValueError("the repository is empty")
        wanted = ref or "HEAD"
        for name in _candidates(wanted):
            sha = refs.get(name)
            if sha is not None:
                return Found(sha, refs.get(name + "^{}", sha), head if name == "HEAD" else name)
        raise _no_ref(wanted, refs)

    def _refs(self) -> tuple[dict[str, str], str]:
        """Return the ids of all refs, `REF^{}` included, and the ref that HEAD points to."""
        try:
            found = self._client.get_refs(self._path.encode())
        except PlainFiles:
            return dumb_refs(self._small_file)
        refs = {_text(name): sha.decode() for name, sha in found.refs.items() if sha}
        head = {_text(name): _text(target) for name, target in found.symrefs.items()}.get("HEAD", "")
        return refs, head

    def fetch(self, sha: str, commits: int, scratch: Scratch, budget: Budget) -> Objects:
        """Fetch a commit with `commits` of its history (0: all). If the server sends no single commits, fetch all.

        Raises ValueError for a missing commit, LimitReached when the `budget` is spent.
        """
        wanted = ObjectID(sha.encode())
        id_bytes = len(sha) // 2
        try:
            objects = self._take_pack(lambda refs: [wanted], commits or None, Objects(scratch("git"), id_bytes, budget))
            if wanted in objects:
                return objects
        except PlainFiles:
            return fetch_dumb(self._get, self._small_file, Objects(scratch("git"), id_bytes, budget), sha, commits)
        except (GitProtocolError, HangupException):
            pass  # not every server sends commits by their ids
        objects = self._take_pack(_branches_and_tags, None, Objects(scratch("git"), id_bytes, budget))
        if wanted not in objects:
            raise ValueError(f"it has no commit {sha}")
        return objects

    def _take_pack(
        self, want: Callable[[Mapping[Ref, ObjectID]], list[ObjectID]], depth: int | None, objects: Objects
    ) -> Objects:
        """Fetch the objects that `want` chooses from the server's refs, as one pack."""

        def wants(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:
            return want(refs)

        path = f"{objects.directory}/fetched.pack"
        with open(path, "xb") as file:

            def write(data: bytes) -> int:
                self._talk.take(-len(data))
                self._downloaded.take(0, len(data))
                return file.write(data)

            nothing_here = ObjectStoreGraphWalker([], lambda sha: [])
            self._client.fetch_pack(self._path.encode(), wants, nothing_here, write, depth=depth)
            size = file.tell()
        if size:
            objects.add_pack(path)
        return objects

    def _get(self, name: str, path: str) -> bool:
        """Fetch a file of the repository from a server of plain files to `path`; say whether it exists."""
        assert self._web is not None
        exchange = self._web.open(f"{self._place}/{name}", accept=(200, 404))
        try:
            if exchange.status == 404:
                return False
            with open(path, "xb") as file:
                for chunk in exchange.chunks():
                    self._downloaded.take(0, len(chunk))
                    file.write(chunk)
            return True
        finally:
            exchange.close()

    def _small_file(self, name: str) -> bytes | None:
        """Return the bytes of such a file, None if it does not exist."""
        assert self._web is not None
        exchange = self._web.open(f"{self._place}/{name}", accept=(200, 404))
        try:
            if exchange.status == 404:
                return None
            data = bytearray()
            for chunk in exchange.chunks():
                data += chunk
                if len(data) > MAX_TALK_BYTES:
                    raise ValueError(f"`{name}` is larger than {MAX_TALK_BYTES >> 20} MiB")
            return bytes(data)
        finally:
            exchange.close()


def _candidates(ref: str) -> tuple[str, ...]:
    """Return the full names that a ref may stand for; the first one that exists counts."""
    if ref == "HEAD" or ref.startswith("refs/"):
        return (ref,)
    return f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}", ref


def _no_ref(wanted: str, refs: Mapping[str, str]) -> ContextError:
    from difflib import get_close_matches

    known = sorted(name.partition("/")[2].partition("/")[2] for name in refs if not name.endswith("^{}"))
    close = get_close_matches(wanted, filter(None, known), 1)
    return ContextError(
        f"repository does not contain ref {wanted}",
        code="git-ref",
        hints=(f"did you mean `{close[0]}`?",) if close else (),
    )


def _branches_and_tags(refs: Mapping[Ref, ObjectID]) -> list[ObjectID]:
    return [sha for name, sha in refs.items() if not name.endswith(b"^{}")]


def _text(name: bytes) -> str:
    return bytes(name).decode("utf-8", "surrogateescape")

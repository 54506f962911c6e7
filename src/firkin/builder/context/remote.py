"""Remote contexts and files, by their address: git, http(s), object stores. Does I/O.

Solve imports it. The modules for a kind of address are imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, assert_never

from firkin.builder.context.views import MemoryView
from firkin.builder.graph.ops import Git, Http
from firkin.errors import ContextError
from firkin.layer.change import View
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from firkin.builder.context.archive import Scratch


class RemoteTools(NamedTuple):
    """Functions and settings for remote access.

    `parse_git` parses the address of a git repository and returns None for others; its second argument says that the
    address is known to be git. `secrets` are those of the request by id, `environ` is the environment of git and ssh.
    `downloads` is the directory that keeps downloads for the next build, "" for none.
    """

    settings: RegistrySettings
    scratch: Scratch
    parse_git: Callable[[str, bool], Git | None]
    secrets: Mapping[str, bytes] = {}
    environ: Mapping[str, str] = {}
    downloads: str = ""
    cancelled: Callable[[], bool] | None = None
    now_s: float = 0.0
    object_environ: Mapping[str, str] = {}  # AWS_*, GOOGLE_*, AZURE_*; secret
    limits: UnpackLimits = UNPACK_LIMITS
    git_home: str = ""  # the repository that credentials without a host are for, "": each op's own


_OBJECT_SCHEMES = ("s3://", "gs://")


def is_remote(location: str, tools: RemoteTools) -> bool:
    """Say whether a context's address is remote (or an invalid git address, so not a path)."""
    try:
        known = location.startswith(("http://", "https://", *_OBJECT_SCHEMES))
        return known or tools.parse_git(location, False) is not None
    except ValueError:  # a git address with a wrong query; `open_remote` reports it
        return True


def open_remote(location: str, tools: RemoteTools, git_depth: int = 1, known_git: bool = False) -> View | bytes:
    """Return the tree at an address, or a text if the address is that of a Dockerfile. Raises ContextError."""
    found = None if known_git else _open_object(location, tools)
    if found is not None:
        return found
    try:
        git = tools.parse_git(location, known_git)
    except ValueError as error:
        raise ContextError(f"{location.partition('?')[0]}: {error}", code="git-url") from error
    if git is not None:
        return fetch_source(git, tools, git_depth)
    from firkin.builder.context.https import Web, document_chunks
    from firkin.builder.context.stdin import open_stream
    from firkin.registry.url import redact_url

    web = Web(tools.settings, cancelled=tools.cancelled, now_s=tools.now_s)
    modified: list[int] = []
    try:
        chunks = document_chunks(web, location, modified.append)
        fetched = open_stream(chunks, tools.scratch, redact_url(location), tools.limits)
    finally:
        web.close()
    if isinstance(fetched, MemoryView):
        fetched.time_s = modified[0] if modified else fetched.newest_s()
    return fetched


def parse_git_or_none(location: str, tools: RemoteTools, known_git: bool = False) -> Git | None:
    """Parse a context's address as that of a git repository; return None if it is not one, or an invalid one."""
    try:
        return tools.parse_git(location, known_git)
    except ValueError:
        return None


def _open_object(location: str, tools: RemoteTools) -> View | None:
    """Return the tree of an archive in an object store, None for another kind of address."""
    from firkin.builder.context.azure import is_blob
    from firkin.builder.context.objects import ObjectTools, open_object

    object_tools = ObjectTools(tools.settings, tools.object_environ, tools.cancelled)
    if location.startswith("s3://"):
        from firkin.builder.context.s3 import locate
    elif location.startswith("gs://"):
        from firkin.builder.context.gs import locate
    elif is_blob(location, tools.object_environ):
        from firkin.builder.context.azure import locate
    else:
        return None
    return open_object(locate(location, object_tools), object_tools, tools.scratch, tools.limits)


def fetch_source(op: Http | Git, tools: RemoteTools, git_depth: int = 1) -> View:
    """Return the files of a remote ADD or a git context. Raises ContextError."""
    match op:
        case Http():
            from firkin.builder.context.https import Downloads, Web

            web = Web(tools.settings, cancelled=tools.cancelled, now_s=tools.now_s)
            try:
                return Downloads(web, tools.scratch, tools.downloads).file(op)
            finally:
                web.close()
        case Git():
            from firkin.builder.context.git import GitTools, open_git

            git_tools = GitTools(
                tools.settings, tools.scratch, tools.secrets, tools.environ, tools.cancelled, tools.git_home,
                tools.limits,
            )  # fmt: skip
            return open_git(op, git_tools, git_depth)
        case _:
            assert_never(op)

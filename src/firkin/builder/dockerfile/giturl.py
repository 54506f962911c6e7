"""Git URLs: the addresses of git repositories in ADD and contexts. Pure. `dockerfile` and `builder.opening` import it.

Mirrors: buildkit frontend/dockerfile/dfgitutil (ParseGitRef) and util/gitutil (ParseURL).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from firkin.builder.dockerfile.words import quote
from firkin.text import parse_bool

_SCP_USER = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_HEX = frozenset("0123456789abcdefABCDEF")
_SCP_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")


class GitUrl(msgspec.Struct, frozen=True):
    """A repository, and the options in its URL; empty fields were not given.

    `remote` is the URL for git (no fragment, no query). `keep_git_dir` and `submodules` are
    None if the URL does not say. `looks_local`: `github.com/...`, which ADD treats as a path.
    """

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    looks_local: bool = False


def parse_git_url(text: str, known_git: bool = False) -> GitUrl | None:
    """Read a git URL; return None if the text is not one.

    Raises ValueError for a git URL with invalid query parameters. An http(s) URL is a git URL only if its
    path ends in `.git`, or if it is `known_git` (ADD --keep-git-dir).
    """
    if text.startswith(("./", "../")):
        return None
    if text.startswith("github.com/"):
        parsed = _parse_url("https://" + text)
        return msgspec.structs.replace(parsed, remote=parsed.remote.partition("://")[2], looks_local=True)
    scheme, separator, rest = text.partition("://")
    if separator and scheme.isalnum() and scheme.isascii():
        if scheme.lower() not in ("http", "https", "ssh", "git"):
            return None
        if scheme.lower() in ("http", "https"):
            path = rest.partition("#")[0].partition("?")[0].partition("/")[2]
            if not known_git and not _unquote(path).endswith(".git"):
                return None
        return _parse_url(scheme.lower() + "://" + rest)
    return _parse_scp(text)


def _parse_url(text: str) -> GitUrl:
    rest, _, fragment = text.partition("#")
    remote, _, query = rest.partition("?")
    ref, _, subdir = _unquote(fragment).partition(":")
    return _with_query(GitUrl(remote, ref, subdir), query)


def _parse_scp(text: str) -> GitUrl | None:
    user, at, rest = text.partition("@")
    host, colon, path = rest.partition(":")
    if not (at and colon and user and host and _SCP_USER.issuperset(user) and _SCP_HOST.issuperset(host)):
        return None
    path, _, fragment = path.partition("#")
    ref, _, subdir = fragment.partition(":")
    return GitUrl(f"{user}@{host}:{path}", ref, subdir)


def _with_query(url: GitUrl, query: str) -> GitUrl:
    texts = {"ref": url.ref, "subdir": url.subdir}
    flags: dict[str, bool] = {}
    for name, value in _iter_query(query):
        match name:
            case "ref" | "subdir":
                texts[name] = _agree(name, texts[name], value)
            case "tag":
                texts["tag"] = _below("refs/tags/", value)
            case "branch":
                texts["branch"] = _below("refs/heads/", value)
            case "checksum" | "commit":
                texts["checksum"] = value
            case "keep-git-dir" | "submodules" | "fetch-by-commit":
                flags[name] = _flag(name, value)
            case "mtime":
                if value not in ("checkout", "commit"):
                    raise ValueError(f"invalid mtime value: {quote(value)}")
            case _:
                raise ValueError(f"unexpected query {quote(name)}")
    ref, checksum = _ref_of(texts), texts.get("checksum", "")
    if not ref and len(checksum) in (40, 64):
        # A full commit id can be requested. A server cannot look up an abbreviated one, so in that case the
        # default branch is fetched and its commit compared.
        ref = checksum
    return GitUrl(url.remote, ref, texts["subdir"], checksum, flags.get("keep-git-dir"), flags.get("submodules"))


def _iter_query(query: str) -> Iterator[tuple[str, str]]:
    """Yield names and values; raises ValueError for a repeated name, or one without a value that it needs."""
    seen = set()
    for pair in filter(None, query.split("&")):
        name, _, value = (_unquote(part.replace("+", " ")) for part in pair.partition("="))
        if name in seen:
            raise ValueError(f"query {quote(name)} has multiple values")
        seen.add(name)
        if not value and name not in ("submodules", "keep-git-dir", "fetch-by-commit"):
            raise ValueError(f"query {quote(name)} has no value")
        yield name, value


def _below(prefix: str, value: str) -> str:
    return value if value.startswith(prefix) else prefix + value


def _flag(name: str, value: str) -> bool:
    try:
        return parse_bool(value) if value else True
    except ValueError:
        raise ValueError(f"invalid {name} value: {quote(value)}") from None


def _ref_of(texts: Mapping[str, str]) -> str:
    """Return the ref that `ref`, `tag` and `branch` give in combination."""
    tag, branch = texts.get("tag", ""), texts.get("branch", "")
    if tag and branch:
        raise ValueError("branch conflicts with tag")
    named = tag or branch
    return _agree("ref", texts["ref"], named) if named else texts["ref"]


def _agree(what: str, old: str, new: str) -> str:
    if old and old != new:
        raise ValueError(f"{what} conflicts: {quote(old)} vs {quote(new)}")
    return new


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    head, *pieces = text.split("%")
    out = bytearray(head.encode())
    for piece in pieces:
        if len(piece) >= 2 and _HEX.issuperset(piece[:2]):
            out.append(int(piece[:2], 16))
            out += piece[2:].encode()
        else:
            out += b"%" + piece.encode()
    return out.decode("utf-8", "replace")

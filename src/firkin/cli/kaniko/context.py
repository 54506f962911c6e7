"""Context addresses of the executor → firkin's. Pure. Only `cli` may import it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from firkin.cli.kaniko.parse import is_boolean
from firkin.errors import UsageError
from firkin.text import parse_bool, whole_number

SCHEMES = ("dir://", "tar://", "tar://stdin", "gs://", "s3://", "git://", "https://")
_DEFAULT_OBJECT = "context.tar.gz"


class Location(NamedTuple):
    """A context in the form of BuildRequest. `skip_tls`: the HOST whose certificate is not checked.

    `git`: the context is a repository; `depth`: how many commits of the history to fetch, 0 for all.
    """

    context: str
    sub_path: str = ""
    skip_tls: str = ""
    git: bool = False
    depth: int = 1


def translate_context(
    text: str, sub_path: str, git: Mapping[str, str], environ: Mapping[str, str]
) -> Location:
    """Return the location of a context; raises UsageError for an unknown scheme.

    Mirrors: kaniko pkg/buildcontext. Unlike there, `sub_path` also applies to plain directories.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Location(text, sub_path)
    match scheme:
        case "dir":
            return Location(rest, sub_path)
        case "tar":
            return Location("-" if rest == "stdin" else rest, sub_path)
        case "git":
            return _git(rest, sub_path, git, environ)
        case "gs" | "s3":
            bucket, _, key = rest.partition("/")
            return Location(f"{scheme}://{bucket}/{key or _DEFAULT_OBJECT}", sub_path)
        case "https":
            return Location(text, sub_path)
        case _:
            raise UsageError(
                f"unknown build context prefix `{scheme}://`", code="context-scheme",
                hints=(f"please use one of the following: {', '.join(SCHEMES)}, or a plain path",),
            )  # fmt: skip


def bucket_context(bucket: str) -> str:
    """Return the context of the old `--bucket`; without a scheme it is in Google Cloud Storage."""
    return bucket if "://" in bucket else f"gs://{bucket}"


def _git(rest: str, sub_path: str, options: Mapping[str, str], environ: Mapping[str, str]) -> Location:
    """Read `host/path[#ref[#sha]]`; the second fragment wins, then --git branch, then the ref."""
    _check_git_options(options)
    depth = whole_number(options.get("depth", "1"), 1 << 31)
    if depth is None:
        raise UsageError(f"flag `--git depth={options['depth']}` is no number")
    method = environ.get("GIT_PULL_METHOD", "https")
    if method not in ("https", "http"):
        raise UsageError(f"GIT_PULL_METHOD is `{method}`, neither https nor http")
    place, _, fragment = rest.partition("#")
    path = place.rstrip("/")
    query = "?keep-git-dir=true"  # keep .git, since steps ask git for versions
    if not parse_bool(options.get("recurse-submodules", "false")):
        query += "&submodules=false"
    tail = _fragment(fragment, options.get("branch", ""), sub_path)
    skip = parse_bool(options.get("insecure-skip-tls", "false"))
    host = path.partition("/")[0].rpartition("@")[2]
    return Location(f"{method}://{path}{query}{tail}", "", host if skip else "", True, depth)


def _check_git_options(options: Mapping[str, str]) -> None:
    for key in ("single-branch", "recurse-submodules", "insecure-skip-tls"):
        if key in options and not is_boolean(options[key]):
            raise UsageError(f"flag `--git {key}={options[key]}` is neither true nor false")


def _fragment(fragment: str, branch: str, sub_path: str) -> str:
    """Return the fragment of a git address: a commit and a directory in it."""
    ref, _, commit = fragment.partition("#")
    wanted = commit or branch or ref
    if sub_path:
        return f"#{wanted}:{sub_path.strip('/')}"
    return f"#{wanted}" if wanted else ""

"""What is settled before a build's session is opened."""

import pytest

from firkin.builder.opening import _parse_git, _read_ignore, platforms_of, slot_of
from firkin.builder.request import BuildRequest
from firkin.errors import UsageError
from firkin.oci.platform import Platform
from firkin.source import Source

REQUEST = BuildRequest("/context", "/store")


def asking(*platforms: str) -> BuildRequest:
    return BuildRequest("/context", "/store", platforms=platforms)


def test_no_platform_is_that_of_this_machine() -> None:
    assert platforms_of(REQUEST) == (None,)
    assert platforms_of(asking("linux/arm64", "linux/amd64")) == (Platform("linux", "arm64"), Platform("linux", "amd64"))


def test_a_platform_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="a/b/c/d") as caught:
        platforms_of(asking("linux/amd64", "a/b/c/d"))
    assert caught.value.code == "platform"


def test_a_slot_names_the_context_and_the_file() -> None:
    one = slot_of(REQUEST, Source("Dockerfile", ""))
    assert one == "/context|Dockerfile" != slot_of(REQUEST, Source("other", ""))
    assert slot_of(BuildRequest("/caf\udce9", "/store"), Source("D", "")) == "/caf\ufffd|D"


def test_addresses_of_repositories_are_told_from_others() -> None:
    assert _parse_git("https://host/app.tar", False) is None
    found = _parse_git("https://host/app.git#main:sub", False)
    assert found is not None and (found.url, found.ref, found.subdir) == ("https://host/app.git", "main", "sub")
    assert found.submodules and not found.keep_git_dir
    known = _parse_git("https://host/app?keep-git-dir=true&submodules=false", True)
    assert known is not None and known.keep_git_dir and not known.submodules


def test_ignore_files_of_any_bytes_are_read() -> None:
    matcher = _read_ignore(b"\xe9*\n", ".dockerignore")
    assert matcher.ignored("\udce9a") and not matcher.ignored("a")

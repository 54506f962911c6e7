import time

import pytest

from firkin.builder.dockerfile.ignore import ROOT, IgnoreMatcher, clean, parse_ignore, read_ignore
from firkin.errors import DockerfileError
from firkin.source import Source


def walked(patterns: list[str], path: str) -> bool:
    """Decide as a walker does: parents first, their state passed on."""
    matcher = IgnoreMatcher(patterns)
    state, ignored = ROOT, False
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        ignored, state = matcher.match("/".join(parts[:count]), state)
    return ignored


def test_read_ignore() -> None:
    text = "\ufefftest1\n/test2\r\n\n  a//b/../file/ \n# note\n #name\n! /inverted/path\n!\n! \n/\n../x\n"
    assert read_ignore(text) == ("test1", "test2", "a/file", "#name", "!inverted/path", "!", "!", "/", "../x")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**", "file", True),
        ("**", "a/b", True),
        ("**/**", "a/b", True),
        ("dir/**", "dir", False),
        ("dir/**", "dir/a/b", True),
        ("dir", "dir/file", True),
        ("dir", "dirt", False),
        ("**/dir", "dir", True),
        ("**/dir", "a/dir/file", True),
        ("**/dir", "a/xdir", False),
        ("**file", "a/xfile", True),
        ("**/dir2/*", "dir/dir2/file", True),
        ("**/dir2/**", "dir/dir2", False),
        ("**/dir2/**", "dir/dir2/a/b", True),
        ("**/**/*.txt", "file.txt", True),
        ("**/*.txt", "a/.txt", True),
        ("**/*.txt", "a/txt", False),
        ("*.txt", "a/b.txt", False),
        ("a**/*.txt", "a/dir/file.txt", True),
        ("a**b", "ab", True),
        ("a**b", "ax/b", True),
        ("a**b", "axb", False),
        ("a/*.txt**", "a/file.txt", True),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/b/c", True),
        ("a/**/c", "a/b/bc", False),
        ("*/foo/**", "x/foo", False),
        ("*/foo/**", "x/foo/y/z", True),
        ("a[b-d]e", "ace", True),
        ("a[b-d]e", "aae", False),
        ("a[^b-d]e", "aze", True),
        ("a[^b]c", "a/c", True),
        ("[\\]a]", "]", True),
        ("[x\\-]", "-", True),
        (".*", ".foo", True),
        ("abc.def", "abcZdef", False),
        ("abc?def", "abcZdef", True),
        ("abc?def", "abc/def", False),
        ("a?b", "a☺b", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("a\\\\", "a\\", True),
        ("a(b)c|.+{}^$/def", "a(b)c|.+{}^$/def", True),
        ("***x", "a/bx", True),
        (".", "a", False),
        ("..", "a", False),
        ("/", "a", False),
    ],
)
def test_one_pattern(pattern: str, path: str, matches: bool) -> None:
    assert walked([pattern], path) is matches
    assert IgnoreMatcher([pattern]).ignored(path) is matches
    # The same with a negation, which switches the bulk look-up off.
    assert walked(["!none", pattern], path) is matches


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        (["docs", "!docs/README.md"], "docs/README.md", False),
        (["docs", "!docs/README.md"], "docs/x", True),
        (["!a.go", "*.go"], "a.go", True),
        (["*.go", "!a.go"], "a.go", False),
        (["**", "!util/web"], "util/web/foo", False),
        (["**", "!util/web", "util/web/foo"], "util/web/foo", True),
        (["*", "!*.md"], "a/b.md", True),
        (["*", "!**/*.md"], "a/b.md", False),
        (["*", "!a", "a/tmp"], "a/tmp/x", True),
        (["a", "", "  ", "!./a/b"], "a/b", False),
    ],
)
def test_negation(patterns: list[str], path: str, ignored: bool) -> None:
    if "!./a/b" not in patterns:  # only read_ignore cleans what follows the `!`
        assert walked(patterns, path) is ignored
    assert walked(list(read_ignore("\n".join(patterns))), path) is ignored


def test_may_reinclude() -> None:
    matcher = IgnoreMatcher(["*", "!keep/a/*.txt", "!lib/**", "!exact/b"])
    below = {name: matcher.may_reinclude(name) for name in ("keep", "keep/a", "keep/b", "other", "keep/a/x.txt")}
    assert below == {"keep": True, "keep/a": True, "keep/b": False, "other": False, "keep/a/x.txt": False}
    assert matcher.may_reinclude("lib") and matcher.may_reinclude("lib/x/y")
    assert matcher.may_reinclude("exact") and not matcher.may_reinclude("exact/b") and not matcher.may_reinclude("ex")
    assert IgnoreMatcher(["*", "!**/x"]).may_reinclude("any/where")
    assert not IgnoreMatcher(["*"]).may_reinclude("a")


@pytest.mark.parametrize(
    "pattern", ["[", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[^", "[^bc", "\\", "a\\", "[z-a]", "!", "![", "["]
)
def test_malformed_patterns(pattern: str) -> None:
    with pytest.raises(DockerfileError, match=r"pattern"):
        IgnoreMatcher([pattern])


def test_parse_ignore_names_the_line() -> None:
    assert parse_ignore(Source(".dockerignore", "a\n!b\n")).patterns == ("a", "!b")
    with pytest.raises(DockerfileError) as caught:
        parse_ignore(Source(".dockerignore", "a\n# note\n[\n"))
    assert str(caught.value) == ".dockerignore:3: syntax error in pattern `[`"


def test_no_patterns() -> None:
    matcher = IgnoreMatcher(["", " "])
    assert not matcher and not matcher.negates
    assert matcher.match("a") == (False, ROOT)


def test_clean() -> None:
    assert [clean(path) for path in ("", "./a", "a/./b//", "a/../..", "/..", "/a/../b", "../../a")] == [
        ".", "a", "a/b", "..", "/", "/b", "../../a",
    ]  # fmt: skip


def test_nasty_patterns_take_bounded_time() -> None:
    started = time.process_time()
    assert not IgnoreMatcher(["*a" * 500 + "*b"]).match("a" * 4000)[0]
    assert not IgnoreMatcher(["**a" * 300 + "*b"]).match("a/" * 2000 + "x")[0]
    assert not IgnoreMatcher(["**/a/" * 300 + "b"]).match("a/" * 2000 + "x")[0]
    assert not IgnoreMatcher(["!x" + "*a" * 500 + "*b"]).may_reinclude("x" + "a" * 4000)
    assert time.process_time() - started < 5

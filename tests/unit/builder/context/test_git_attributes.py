"""`.gitattributes`: what they say of a path, and what becomes of its content; compared with git where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from firkin.builder.context.git_attributes import Attributes, Pattern, Value
from firkin.builder.context.git_convert import NAMES, to_working_tree
from firkin.errors import ContextError

NEEDS_GIT = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to compare with")

PATTERNS = [
    b"*", b"*.c", b"a", b"/a", b"a/", b"a/b", b"a/*", b"*/b", b"a/**", b"**/b", b"a/**/b", b"**", b"**/*.c", b"a**b",
    b"x?z", b"[ab].c", b"[!ab].c", b"[^a-c].c", b"[]-].c", b"[a-].c", b"[z-a].c", b"[[:alpha:]].c", b"[[:upper:]x].c",
    b"[[:nope:]].c", b"[a", b"\\a", b"\\*.c", b"a\\", b"*.tar.gz", b"*a*b*c", b"a*/c", b"/**/c", b"**/a/**", b"a/b/",
    b"a/./b", b"***", b"[a/b]", b"a[/]b", b"?", b"*?", b"??*", b".*", b"*.", b"[*].c", b"[\\]].c", b"[\\a-c].c",
    b"[a-\\c].c", b"a/**/**/c", b"**a", b"a/b**", b"**/**", b"d/a", b"/d/*.c", b"[[:digit:][:space:]].c",
    b"a\\/b", b"?\\/**",
]  # fmt: skip
PATHS = [
    "a", "b", "c", "ab", "a.c", "b.c", "c.c", "z.c", "-.c", "].c", "*.c", "A.c", "1.c", "a/b", "a/c", "a/b/c", "a/x/b",
    "a/x/y/b", "b/a", "d/a", "d/a/b", "d/x.c", "d/e/x.c", "xyz", "x.z", "f.tar.gz", "aabbcc", "abc/c", "a/c/c", ".c", ".x",
    "x.", "axb", "é.c", "a b", "q/a/b/c",
]  # fmt: skip


@NEEDS_GIT
@pytest.mark.parametrize("directory", ["", "d"])
def test_patterns_as_git_matches_them(directory: str, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run([*git, "init", "-q"], check=True, env=environ)
    (tmp_path / directory).mkdir(exist_ok=True)
    lines = b"".join(pattern + b" p%d\n" % number for number, pattern in enumerate(PATTERNS))
    (tmp_path / directory / ".gitattributes").write_bytes(lines)
    told = subprocess.run(
        [*git, "check-attr", "-z", "-a", "--stdin"], input="\0".join(PATHS).encode() + b"\0", env=environ,
        check=True, capture_output=True,
    ).stdout.split(b"\0")  # fmt: skip
    by_git = {(told[at].decode(), told[at + 1]) for at in range(0, len(told) - 2, 3)}
    names = [b"p%d" % number for number in range(len(PATTERNS))]
    attributes = Attributes(lambda where: lines if where == directory else None, names)
    ours = {(path, name) for path in PATHS for name, value in attributes.of(path).items() if value}
    shown = {(path, PATTERNS[int(name[1:])]) for path, name in ours ^ by_git}
    assert not shown


def attributes_of(files: dict[str, bytes], path: str) -> dict[bytes, Value]:
    return Attributes(files.get, (b"a", b"b", b"c", b"m", *NAMES)).of(path)


def test_the_deepest_and_last_word_counts() -> None:
    files = {
        "": b"* a=1 b\n*.c a=2\n*.c -b\n# comment\n\n   \t*.h\tc  \r\n",
        "d": b"*.c a=3\n/x.c !b\n",
        "d/e": b"e/x.c a=9\nx.c a\n",
    }
    assert attributes_of(files, "x.c") == {b"a": b"2", b"b": False}
    assert attributes_of(files, "d/x.c") == {b"a": b"3", b"b": None}
    assert attributes_of(files, "d/e/x.c") == {b"a": True, b"b": False}
    assert attributes_of(files, "d/e/x.h") == {b"a": b"1", b"b": True, b"c": True}


def test_macros() -> None:
    files = {
        "": b"[attr]m a=1 -b\n*.x m\n*.y m a=2\n*.z a=2 m\n*.bin binary\n*.w -m\n[attr]binary text\n",
        "d": b"[attr]m a=7\n*.x m\n",
    }
    assert attributes_of(files, "f.x") == {b"m": True, b"a": b"1", b"b": False}
    assert attributes_of(files, "f.y") == {b"m": True, b"a": b"2", b"b": False}
    assert attributes_of(files, "f.z") == {b"m": True, b"a": b"1", b"b": False}
    assert attributes_of(files, "d/f.x") == {b"m": True, b"a": b"1", b"b": False}
    assert attributes_of(files, "f.w") == {b"m": False}
    assert attributes_of(files, "f.bin") == {b"binary": True, b"text": True}
    assert attributes_of({"": b"* binary\n"}, "f") == {b"binary": True, b"text": False, b"diff": False, b"merge": False}


@pytest.mark.parametrize(
    "line",
    [b"!*.c a", b"*.c -", b"*.c a -*", b"*.c builtin_a", b'"*.c a', b'"\\q" a', b"*.c a " + b" " * 2100, b"[attr] a", b""],
)
def test_lines_that_git_ignores(line: bytes) -> None:
    assert attributes_of({"": line + b"\n"}, "x.c") == {}


def test_quoted_patterns_and_marks() -> None:
    assert attributes_of({"": b'\xef\xbb\xbf"a b\\303\\251\\t" a\n'}, "a bé\t") == {b"a": True}
    with pytest.raises(ContextError, match="is too large"):
        attributes_of({"d": b"#" * (2 << 20)}, "d/x")


def test_patterns_and_macros_cost_no_more_than_their_length() -> None:
    start = time.monotonic()
    assert not Pattern(b"*a" * 40 + b"b").match(b"a" * 250)
    assert not Pattern(b"**/a/" * 40 + b"b").match(b"a/" * 1000 + b"c")
    chain = b"".join(b"[attr]n%d n%d\n" % (number, number + 1) for number in range(20_000))
    assert b"n20000" in Attributes({"": chain + b"* n0\n"}.get, [b"text"]).of("f")
    assert time.monotonic() - start < 10


SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("values", "stored", "written"),
    [
        ({b"eol": b"crlf"}, b"a\nb\r\n", b"a\r\nb\r\n"),
        ({b"text": True, b"eol": b"crlf"}, b"a\n\0\n", b"a\r\n\0\r\n"),
        ({b"text": False, b"eol": b"crlf"}, b"a\n", b"a\n"),
        ({b"text": b"auto", b"eol": b"crlf"}, b"a\n", b"a\r\n"),
        ({b"text": b"auto", b"eol": b"crlf"}, b"a\nb\r\n", b"a\nb\r\n"),
        ({b"text": b"auto", b"eol": b"crlf"}, b"a\n\0", b"a\n\0"),
        ({b"text": b"auto", b"eol": b"crlf"}, b"\1\n", b"\1\n"),
        ({b"text": b"auto", b"eol": b"crlf"}, b"abc\n\x1a", b"abc\r\n\x1a"),
        ({b"text": b"auto"}, b"a\n", b"a\n"),
        ({b"text": True}, b"a\r\n", b"a\r\n"),
        ({b"eol": b"lf"}, b"a\r\n", b"a\r\n"),
        ({b"eol": b"CRLF"}, b"a\n", b"a\n"),
        ({b"crlf": False, b"eol": b"crlf"}, b"a\n", b"a\n"),
        ({b"crlf": True, b"text": b"other", b"eol": b"crlf"}, b"a\n", b"a\r\n"),
        ({b"eol": b"crlf"}, b"", b""),
        ({b"ident": True}, b"$Id$ $Id: x $ $Id:x$", f"$Id: {SHA} $ $Id: {SHA} $ $Id: {SHA} $".encode()),
        ({b"ident": True}, b"$Id: a b $ $Id:\n$ $Ids$ $Id", b"$Id: a b $ $Id:\n$ $Ids$ $Id"),
        ({b"ident": b"yes"}, b"$Id$", b"$Id$"),
        ({b"ident": True, b"eol": b"crlf"}, b"$Id$\n", f"$Id: {SHA} $\r\n".encode()),
        ({b"working-tree-encoding": b"UTF-16LE"}, "é\n".encode(), "é\n".encode("utf-16-le")),
        ({b"working-tree-encoding": b"UTF-16"}, "é".encode(), "é".encode("utf-16")),
        ({b"working-tree-encoding": b"UTF-16LE-BOM"}, b"a", b"\xff\xfea\0"),
        ({b"working-tree-encoding": b"ISO-8859-1", b"eol": b"crlf"}, "é\n".encode(), b"\xe9\r\n"),
        ({b"working-tree-encoding": b"UTF-8"}, b"\xff", b"\xff"),
        ({b"working-tree-encoding": b"ISO-8859-1"}, "\u20ac".encode(), "\u20ac".encode()),
        ({b"working-tree-encoding": b"no-such"}, b"a", b"a"),
        ({b"working-tree-encoding": b"zip"}, b"a", b"a"),
    ],
)
def test_contents(values: dict[bytes, Value], stored: bytes, written: bytes) -> None:
    assert to_working_tree(stored, SHA, values, "f") == written


def test_an_encoding_has_a_name() -> None:
    for value in (True, False):
        with pytest.raises(ContextError, match="no valid working-tree-encodings"):
            to_working_tree(b"a", SHA, {b"working-tree-encoding": value}, "f")

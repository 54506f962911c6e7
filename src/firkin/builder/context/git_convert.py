"""Converts files as a checkout does: line ends, `$Id$`, encodings. Pure. Only builder/context/git_view.py imports it.

Git's default settings apply (core.autocrlf false, core.eol native, no filters), as in a BuildKit or Kaniko container,
which has no git configuration. A file of git-lfs stays the pointer that the repository holds.
Mirrors: git convert.c, convert_to_working_tree; spec: gitattributes(5).
"""

from __future__ import annotations

from collections.abc import Mapping

from firkin.builder.context.git_attributes import Value
from firkin.errors import ContextError

NAMES = (b"text", b"crlf", b"eol", b"ident", b"working-tree-encoding")
_UTF8 = (b"utf-8", b"utf8")
# Encodings of Python that no iconv has.
_NO_ENCODINGS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "palmos", "mbcs", "oem")
_PRINTABLE = bytes(byte for byte in range(256) if (byte >= 32 and byte != 127) or byte in (8, 9, 12, 27))


def is_converted(values: Mapping[bytes, Value]) -> bool:
    """Say whether a checkout may change the content of a file with these attributes."""
    encoding = values.get(b"working-tree-encoding")
    return values.get(b"ident") is True or bool(_line_ends(values)) or encoding is not None


def to_working_tree(data: bytes, sha: str, values: Mapping[bytes, Value], path: str) -> bytes:
    """Return a blob as a checkout writes it. Raises ContextError for an encoding `true` or `false`."""
    if values.get(b"ident") is True:
        data = _with_ids(data, sha)
    kind = _line_ends(values)
    if kind and _converts(data, automatic=kind == "auto-crlf"):
        data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return _encoded(data, values.get(b"working-tree-encoding"), path)


def _line_ends(values: Mapping[bytes, Value]) -> str:
    """Return "crlf", "auto-crlf" (only for files that look like text), or "" for no conversion."""
    text = values.get(b"text")
    if text not in (True, False, b"auto", b"input"):
        text = values.get(b"crlf")  # its name before git 1.7.2
    if text is False or values.get(b"eol") != b"crlf":
        return ""
    return "auto-crlf" if text == b"auto" else "crlf"


def _converts(data: bytes, *, automatic: bool) -> bool:
    """Say whether line feeds get a carriage return: one has none yet and, if `automatic`, the file looks like text."""
    returns, feeds, pairs = data.count(b"\r"), data.count(b"\n"), data.count(b"\r\n")
    if feeds == pairs:
        return False
    return not automatic or not (returns or _is_binary(data))


def _is_binary(data: bytes) -> bool:
    """Say whether a file without carriage returns looks binary. Mirrors: gather_stats, convert_is_binary."""
    if b"\0" in data:
        return True
    printable = len(data) - len(data.translate(None, _PRINTABLE))
    strange = len(data) - printable - data.count(b"\n")
    if data.endswith(b"\x1a"):
        strange -= 1
    return printable >> 7 < strange


def _with_ids(data: bytes, sha: str) -> bytes:
    """Put the blob's id into each `$Id$` and `$Id: ... $`, but not into those of other version control systems."""
    out = []
    at = 0
    while (dollar := data.find(b"$", at)) >= 0:
        out.append(data[at : dollar + 1])
        at = dollar + 1
        if data[at : at + 3] == b"Id$":
            at += 3
        elif data[at : at + 3] == b"Id:":
            end = data.find(b"$", at + 3)
            if end < 0:
                break
            inside = data[at + 3 : end]
            if b"\n" in inside or 0 <= inside.find(b" ", 1) < len(inside) - 1:
                continue
            at = end + 1
        else:
            continue
        out.append(f"Id: {sha} $".encode())
    return b"".join(out) + data[at:]


def _encoded(data: bytes, encoding: Value, path: str) -> bytes:
    if not encoding:
        if encoding is False:
            raise _no_encoding(path)
        return data
    if encoding is True:
        raise _no_encoding(path)
    if encoding.lower() in _UTF8 or not data:
        return data
    name = encoding.decode("ascii", "replace").lower()
    mark = b""
    if name == "utf-16le-bom":
        name, mark = "utf-16-le", b"\xff\xfe"
    if name.replace("-", "_") in _NO_ENCODINGS:
        return data
    try:
        return mark + data.decode("utf-8").encode(name)
    except (LookupError, UnicodeError):
        return data  # git reports the error and writes the file unconverted


def _no_encoding(path: str) -> ContextError:
    return ContextError(
        f"{path}: true and false are no valid working-tree-encodings (.gitattributes)", code="git-attributes"
    )

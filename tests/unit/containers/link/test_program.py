"""Parts of the monitor's program: from the interpreter's cache only when it is the source's."""

import marshal
import os
import py_compile
import sys
from pathlib import Path
from typing import Any

import pytest

from firkin.containers.link.program import CODE_OF

loader: dict[str, Any] = {"marshal": marshal, "os": os, "sys": sys}
exec(CODE_OF, loader)


def result(path: Path) -> Any:
    names: dict[str, Any] = {}
    exec(loader["code_of"](str(path)), names)
    return names["found"]


def test_a_part_without_a_cache_is_compiled(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text("found = 1\n")
    assert result(tmp_path / "part.py") == 1


def test_a_cache_of_another_source_is_not_believed(tmp_path: Path) -> None:
    part = tmp_path / "part.py"
    part.write_text("found = 1\n")
    os.utime(part, (1000, 1000))
    py_compile.compile(str(part), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    assert result(part) == 1
    part.write_text("found = 2\n")  # as long as before
    os.utime(part, (2000, 2000))
    assert result(part) == 2
    part.write_text("found = 33\n")
    os.utime(part, (2000, 2000))
    assert result(part) == 33


def test_a_cache_by_hash_is_of_use_too(tmp_path: Path) -> None:
    part = tmp_path / "part.py"
    part.write_text("found = 1\n")
    py_compile.compile(str(part), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    assert result(part) == 1


def test_a_torn_cache_does_no_harm(tmp_path: Path) -> None:
    part = tmp_path / "part.py"
    part.write_text("found = 1\n")
    cache = Path(py_compile.compile(str(part), doraise=True))
    cache.write_bytes(cache.read_bytes()[:10])
    assert result(part) == 1


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file or directory.*part\.py"):
        loader["code_of"](str(tmp_path / "part.py"))

"""Paths that the program in front of a step's command makes."""

import os
from pathlib import Path

from firkin.sandbox.init import make_all


def test_directories_are_made_deeper_than_calls_can_be(tmp_path: Path) -> None:
    deep = "n/" * 1500
    made = make_all(f"{tmp_path}/{deep}".rstrip("/"))
    assert len(made) == 1500 and made[0] == f"{tmp_path}/n" and os.path.isdir(made[-1])
    assert make_all(made[-1]) == ()
    for path in reversed(made):
        os.rmdir(path)

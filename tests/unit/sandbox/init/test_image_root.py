"""Paths of an image, walked from outside: the same as for a process in it, and never out of it."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firkin.linux.beneath import Beneath
from firkin.sandbox.spawn import emulated_codes

PROGRAM: dict[str, Any] = {"__name__": "program"}
for _code in emulated_codes():
    exec(_code, PROGRAM)

NAMES = st.sampled_from(["a", "b", "c", "missing"])
STEPS = st.sampled_from(["a", "b", "c", "missing", "..", ".", ""])
PATHS = st.lists(STEPS, min_size=1, max_size=5).map("/".join)
TEXTS = st.builds(lambda top, path: top + (path or "."), st.sampled_from(["", "/", "../../../"]), PATHS)


def found(root: Path, path: str) -> tuple[int, str]:
    """Return the inode of the directory that exists, and what follows."""
    fd, rest = PROGRAM["Root"](os.open(root, os.O_PATH)).find(path)
    inode = os.fstat(fd).st_ino
    os.close(fd)
    return inode, "/".join(rest)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    folders=st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=3),
    links=st.lists(st.tuples(PATHS, TEXTS), max_size=4),
    path=PATHS,
)
def test_it_leads_where_the_kernel_would_lead(folders: list[str], links: list[tuple[str, str]], path: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"
        root.mkdir()
        for folder in folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name, text in links:
            target = root / name.replace("..", "x").strip("/")
            if target != root and target.parent.is_dir() and not os.path.lexists(target):
                target.symlink_to(text)
        with Beneath(str(root)) as beneath:
            try:
                expected = os.fstat(beneath.open(path, os.O_PATH))
            except OSError:
                expected = None
        try:
            fd, rest = PROGRAM["Root"](os.open(root, os.O_PATH)).find(path)
        except OSError as error:
            assert error.errno in (16, 20, 40)
            assert expected is None or expected.st_ino == root.stat().st_ino
            return
        # Held by a descriptor, so its way up can be told: it is the root or beneath it.
        place_of = os.readlink(f"/proc/self/fd/{fd}")
        assert (place_of + "/").startswith(f"{root}/")
        if expected is not None and expected.st_ino != root.stat().st_ino:
            assert len(rest) == 1
            assert os.lstat(rest[0], dir_fd=fd).st_ino == expected.st_ino
        os.close(fd)


@pytest.mark.parametrize(
    ("links", "path", "folder", "rest"),
    [
        ({}, "/a/b", "a", "b"),
        ({}, "a/new/x", "a", "new/x"),
        ({"l": "../../a"}, "l/b/x", "a/b", "x"),
        ({"l": "/a"}, "l/b", "a", "b"),
        ({"l": "nowhere/../n"}, "l", "", "n"),
        ({"a/up": ".."}, "a/up/a/b", "a", "b"),
        ({"a/up": ".."}, "a/b/../up/a", "", "a"),
    ],
)
def test_where_it_leads(tmp_path: Path, links: dict[str, str], path: str, folder: str, rest: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name, text in links.items():
        (tmp_path / name).symlink_to(text)
    assert found(tmp_path, path) == ((tmp_path / folder).stat().st_ino, rest)


@pytest.mark.parametrize(("path", "number"), [("f/x", 20), ("/", 16), ("a/..", 16), ("loop", 40)])
def test_what_cannot_be_a_place(tmp_path: Path, path: str, number: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "f").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError) as failed:
        found(tmp_path, path)
    assert failed.value.errno == number


def test_directories_are_made_deeper_than_calls_can_be(tmp_path: Path) -> None:
    make_all = PROGRAM["make_all"]
    deep = "n/" * 1500
    made = make_all(f"{tmp_path}/{deep}".rstrip("/"))
    assert len(made) == 1500 and made[0] == f"{tmp_path}/n" and os.path.isdir(made[-1])
    assert make_all(made[-1]) == ()
    for path in reversed(made):
        os.rmdir(path)

"""`cp`: what is copied where. The table is docker's."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from firkin.cli.copying import End, Thing, landing, local_dest, local_source, local_tar, split_end, unpack_locally
from firkin.containers.archive import absolute, go_time, last_name
from firkin.errors import UsageError


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("c:/x", End("c", "/x")),
        ("c:x", End("c", "x")),
        ("./c:x", End("", "./c:x")),
        ("/a:b", End("", "/a:b")),
        ("-", End("", "-")),
        ("file", End("", "file")),
        ("c:", End("c", "")),
    ],
)
def test_containers_and_paths(text: str, end: End) -> None:
    assert split_end(text) == end


FILE = Thing("/s/f", True, False, "f")
FOLDER = Thing("/s/d", True, True, "d")
CONTENTS = Thing("/s/d/.", True, True, "", True)
FREE, FREE_FOLDER = Thing("/t/x", False, False), Thing("/t/x/", False, False)
THERE, THERE_FOLDER = Thing("/t/x", True, False), Thing("/t/x", True, True)


@pytest.mark.parametrize(
    ("source", "dest", "result"),
    [
        (FILE, FREE, ("/t", "x")),
        (FILE, FREE_FOLDER, "no such directory"),
        (FILE, THERE, ("/t", "x")),
        (FILE, THERE_FOLDER, ("/t/x", "f")),
        (FOLDER, FREE, ("/t", "x")),
        (FOLDER, FREE_FOLDER, ("/t", "x")),
        (FOLDER, THERE, "cannot copy directory"),
        (FOLDER, THERE_FOLDER, ("/t/x", "d")),
        (CONTENTS, FREE, ("/t", "x")),
        (CONTENTS, THERE, "cannot copy directory"),
        (CONTENTS, THERE_FOLDER, ("/t/x", "")),
    ],
)
def test_the_table_of_cases(source: Thing, dest: Thing, result: tuple[str, str] | str) -> None:
    if isinstance(result, str):
        with pytest.raises(UsageError, match=result):
            landing(source, dest)
    else:
        assert landing(source, dest) == result


def test_paths_of_a_container_begin_at_its_root_and_stay_there() -> None:
    assert [absolute(path) for path in ("a", "/a/", "a/.", "../../x", "/", "/.", ".", "//a")] == [
        "/a", "/a/", "/a/.", "/x", "/", "/.", "/.", "/a",
    ]  # fmt: skip
    assert [last_name(path) for path in ("/a/b", "/a/", "/a/.", "/")] == ["b", "a", ".", "/"]


def test_times_are_those_of_go() -> None:
    assert go_time(0) == "1970-01-01T00:00:00Z"
    assert go_time(1_500_000_000_120_000_000) == "2017-07-14T02:40:00.12Z"


def test_a_local_source(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    os.symlink("d", tmp_path / "l")
    os.symlink("nowhere", tmp_path / "broken")
    at = f"{tmp_path}/"
    assert local_source(at + "d", follow=False) == Thing(at + "d", True, True, "d")
    assert local_source(at + "d/.", follow=False).contents
    assert not local_source(at + "l", follow=False).is_folder
    assert local_source(at + "l", follow=True) == Thing(at + "d", True, True, "l")
    assert local_source(at + "l/", follow=False) == Thing(at + "d", True, True, "l")
    assert not local_source(at + "broken", follow=False).is_folder
    for path, words in (("f/", "not a directory"), ("none", "no such file")):
        with pytest.raises(UsageError, match=words):
            local_source(at + path, follow=False)


def test_a_local_destination(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    os.mkfifo(tmp_path / "p")
    at = f"{tmp_path}/"
    assert local_dest(at + "d") == Thing(at + "d", True, True)
    assert local_dest(at + "new") == Thing(at + "new", False, False)
    assert local_dest(at + "f").exists
    for path, words in (("none/x", "does not exist"), ("p", "regular file"), ("f/", "not a directory")):
        with pytest.raises(UsageError, match=words):
            local_dest(at + path)


def test_a_tar_is_unpacked_under_another_name_and_appears_whole(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "f").write_text("x")
    os.link(tmp_path / "d" / "sub" / "f", tmp_path / "d" / "g")
    (tmp_path / "out").mkdir()
    source = local_source(f"{tmp_path}/d", follow=False)
    unpack_locally(local_tar(source, "d"), "d", f"{tmp_path}/out", "renamed", chown=False)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["f", "g", "renamed", "sub"]
    assert (tmp_path / "out/renamed/g").stat().st_nlink == 2
    # Again: directories are merged, files replaced.
    unpack_locally(local_tar(source, ""), ".", f"{tmp_path}/out/renamed", "", chown=False)
    # A directory does not replace a file.
    (tmp_path / "out/other").write_text("x")
    with pytest.raises(UsageError, match="cannot overwrite"):
        unpack_locally(local_tar(source, "d"), "d", f"{tmp_path}/out", "other", chown=False)
    assert (tmp_path / "out/other").read_text() == "x"


def test_names_that_lead_out_of_the_directory_stay_in_it(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        member = tarfile.TarInfo("d/../../../escaped")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    (tmp_path / "out").mkdir()
    unpack_locally(iter([data.getvalue()]), ".", f"{tmp_path}/out", "", chown=False)
    assert (tmp_path / "out/escaped").read_text() == "x"
    assert not (tmp_path / "escaped").exists()

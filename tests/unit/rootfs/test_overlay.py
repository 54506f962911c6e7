"""Mount points in an upper directory."""

import os
from pathlib import Path

from firkin.rootfs.overlay import drop_stubs


def test_empty_mount_points_go(tmp_path: Path) -> None:
    (tmp_path / "upper/p/q").mkdir(parents=True)
    (tmp_path / "upper/etc").mkdir()
    (tmp_path / "upper/etc/hosts").touch()
    (tmp_path / "upper/etc/own").write_text("own")
    os.utime(tmp_path / "upper", (1, 2))
    drop_stubs(str(tmp_path / "upper"), ["etc/hosts", "etc", "p/q", "p", "none/x", "none"])
    assert [str(path.relative_to(tmp_path / "upper")) for path in sorted((tmp_path / "upper").rglob("*"))] == [
        "etc",
        "etc/own",
    ]
    assert os.stat(tmp_path / "upper").st_mtime == 2


def test_what_a_command_put_there_stays(tmp_path: Path) -> None:
    (tmp_path / "upper/d").mkdir(parents=True)
    (tmp_path / "outside/empty").mkdir(parents=True)
    (tmp_path / "upper/full").write_text("x")
    (tmp_path / "upper/link").symlink_to(tmp_path / "outside")
    (tmp_path / "upper/dangling").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    drop_stubs(str(tmp_path / "upper"), ["link/empty", "link", "full", "dangling"])
    assert sorted(tmp_path.rglob("*")) == before


def test_lent_files_go_whatever_became_of_them(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/lent").write_text("changed")
    (tmp_path / "d/own").write_text("own")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    drop_stubs(str(tmp_path), [], ["link/own", "d/lent", "d/absent", "no/lent"])
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["own"]

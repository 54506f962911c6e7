"""Cache mounts in the store: two real directories, or none."""

import os

import pytest

from firkin.store.layout import StoreLayout
from firkin.store.mounts import files_of, is_sound, stage_mount


@pytest.fixture
def mount(tmp_path):
    with StoreLayout(str(tmp_path / "store")) as layout:
        yield stage_mount(layout, "npm cache")


def test_a_new_mount_is_empty_and_bears_its_id(mount):
    assert is_sound(mount)
    assert os.listdir(files_of(mount)) == []
    with open(f"{mount}/id") as file:
        assert file.read() == "npm cache"


@pytest.mark.parametrize("left", ["a link", "a file", "nothing"])
def test_what_a_command_left_in_its_place_is_no_mount(mount, left, tmp_path):
    os.rmdir(files_of(mount))
    if left == "a link":
        os.symlink(tmp_path, files_of(mount))
    elif left == "a file":
        open(files_of(mount), "w").close()
    assert not is_sound(mount)


def test_a_link_to_a_mount_is_none(mount, tmp_path):
    os.symlink(mount, tmp_path / "link")
    assert not is_sound(str(tmp_path / "link"))
    assert not is_sound(str(tmp_path / "nowhere"))

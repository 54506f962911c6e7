"""What a container changed: the upper directory compared with the layers below it."""

import msgspec
from support.trees import tree

from firkin.containers.changes import ADDED, DELETED, MODIFIED, compare, filler_folders
from firkin.layer.change import Change, Opaque, Put, Remove, View

BELOW = tree(
    "dir /etc", "file /etc/passwd @5 root", "file /etc/gone x", "dir /old", "file /old/one 1", "file /old/two 2",
    "dir /data", "link /l -> etc",
)  # fmt: skip


def puts(view: View, *order: str) -> list[Change]:
    changes: list[Change] = []
    for path in order:
        entry = view.lstat(path)
        assert entry is not None
        changes.append(Put(path, entry))
    return changes


def found(changes: list[Change], hidden: frozenset[str] = frozenset(), *, owners: bool = True) -> dict[str, int]:
    there = {change.path for change in changes if isinstance(change, Put)}
    return compare(changes, BELOW, there.__contains__, hidden, owners=owners)


def test_added_changed_and_deleted_files_list_their_directories() -> None:
    upper = tree("dir /etc", "file /etc/passwd @6 root", "dir /new", "file /new/f x")
    changes = [*puts(upper, "etc", "etc/passwd"), Remove("etc/gone"), *puts(upper, "new", "new/f")]
    assert found(changes) == {
        "etc": MODIFIED, "etc/passwd": MODIFIED, "etc/gone": DELETED, "new": ADDED, "new/f": ADDED,
    }  # fmt: skip


def test_a_file_that_was_only_opened_is_no_change() -> None:
    upper = tree("dir /etc @9", "file /etc/passwd @5 root")
    assert found(puts(upper, "etc", "etc/passwd")) == {}


def test_times_of_whole_seconds_are_compared_as_such() -> None:
    entry = BELOW.lstat("etc/passwd")
    assert entry is not None
    later = Put("etc/passwd", msgspec.structs.replace(entry, mtime_ns=5 * 10**9 + 7))
    assert found([later]) == {}


def test_mode_and_owner_of_a_directory_count() -> None:
    assert found(puts(tree("dir /etc 0700"), "etc")) == {"etc": MODIFIED}
    assert found(puts(tree("dir /etc 0755 1:1"), "etc")) == {"etc": MODIFIED}
    assert found(puts(tree("dir /etc 0755 1:1"), "etc"), owners=False) == {}


def test_a_directory_that_was_removed_and_made_again_lists_what_is_missing() -> None:
    upper = tree("dir /old", "file /old/two 2")
    changes = [*puts(upper, "old"), Opaque("old"), *puts(upper, "old/two")]
    assert found(changes) == {"old": MODIFIED, "old/one": DELETED}


def test_a_file_in_the_place_of_a_directory_is_one_change() -> None:
    assert found(puts(tree("file /old x"), "old")) == {"old": MODIFIED}


def test_mount_points_are_no_changes_nor_are_directories_that_lead_to_them() -> None:
    upper = tree("dir /srv", "dir /srv/deep", "dir /srv/deep/vol", "dir /mnt", "dir /mnt/v", "file /mnt/own x")
    changes = puts(upper, "srv", "srv/deep", "srv/deep/vol", "mnt", "mnt/v", "mnt/own")
    hidden = frozenset(("srv/deep/vol", "mnt/v"))
    assert found(changes, hidden) == {"mnt": ADDED, "mnt/own": ADDED}


def test_a_mount_point_that_the_image_has_and_the_container_removed_is_told() -> None:
    assert found([Remove("data")], frozenset(("data",))) == {"data": DELETED}


def test_filler_folders() -> None:
    assert filler_folders(frozenset(("a/b/c", "d"))) == {"a", "a/b"}

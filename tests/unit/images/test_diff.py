"""What differs between two images, and what is read to say so."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from support.explored import Made, blobs_asked_for, layer

from firkin.images.diff import config_changes, file_changes
from firkin.images.explore.session import Session
from firkin.oci.platform import Platform
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

AMD64 = Platform("linux", "amd64")
BASE = layer(
    "dir /", "dir /etc", "file /etc/a a", "file /etc/b b", "dir /keep", "file /keep/k k", "dir /srv", "file /srv/s s",
    "link /l -> etc", "hard /h = /etc/a",
)  # fmt: skip
Compare = Callable[..., list[str]]


@pytest.fixture
def compare(store: Store, registry: FakeRegistry) -> Compare:
    def run(old: Made, new: Made, *, times: bool = False) -> list[str]:
        old.serve(registry, "old:1")
        new.serve(registry, "new:1")
        with (
            RegistryClient(RegistrySettings(retries=0)) as client,
            Session(store, lambda: client, lambda event: None, Cancel(), lambda: 1e6, parallel=2) as session,
        ):
            before, after = (session.open(f"docker://{registry.host}/{name}:1", AMD64) for name in ("old", "new"))
            changes = list(file_changes(session, before, after, times=times))
        assert not [name for name in os.listdir(store.layout.scratch) if name.startswith("content")]
        return [f"{change.what[0]} /{change.path} {', '.join(change.how)}".rstrip() for change in changes]

    return run


def test_changes_by_layers_above_a_common_base(compare: Compare) -> None:
    upper = layer(
        "file /etc/a A", "file /etc/new 0600 3:4 new", "gone /etc/b", "opaque /srv", "file /srv/t t", "link /l -> srv",
        "dir /etc 0700",
    )  # fmt: skip
    assert compare(Made(BASE), Made(BASE, upper)) == [
        "c /etc mode 0755 → 0700",
        "c /etc/a content (1 bytes)",
        "r /etc/b",
        "a /etc/new",
        "c /l link target etc → srv",
        "r /srv/s",
        "a /srv/t",
    ]
    assert compare(Made(BASE, upper), Made(BASE))[1:4] == ["c /etc/a content (1 bytes)", "a /etc/b", "r /etc/new"]


@pytest.mark.parametrize(("line", "told"), [
    ("file /etc/a 0644 aa", "content (1 → 2 bytes)"),
    ("file /etc/a 0600 a", "mode 0644 → 0600"),
    ("file /etc/a 7:8 a", "owner 0:0 → 7:8"),
    ("dir /etc/a", "kind file → dir"),
    ("file /etc/a a", ""),
    ("file /etc/a @5 a", ""),
])  # fmt: skip
def test_what_counts_as_a_change(compare: Compare, line: str, told: str) -> None:
    assert compare(Made(BASE), Made(BASE, layer(line))) == ([f"c /etc/a {told}"] if told else [])


def test_times_count_only_if_asked_for(compare: Compare) -> None:
    pair = (Made(layer("file /f @1 x")), Made(layer("file /f @2 x")))
    assert compare(*pair) == []
    assert compare(*pair, times=True) == ["c /f time 1 → 2"]


def test_the_same_tree_in_other_layers_is_no_difference(compare: Compare) -> None:
    one = Made(BASE, layer("file /x x", "gone /etc/b"))
    other = Made(layer("dir /", "dir /etc", "file /etc/a a", "dir /keep", "file /keep/k k"), layer(
        "dir /srv", "file /srv/s s", "link /l -> etc", "file /h a", "file /x x"))  # fmt: skip
    assert compare(one, other) == []


def test_a_removed_and_remade_directory_hides_what_lower_layers_have(compare: Compare) -> None:
    """Nothing in the upper layer names /srv/s: that its directory was removed and made anew is what removes it."""
    assert compare(Made(BASE), Made(BASE, layer("gone /srv", "dir /srv"))) == ["r /srv/s"]
    assert compare(Made(BASE), Made(BASE, layer("gone /srv"))) == ["r /srv", "r /srv/s"]
    assert compare(Made(BASE), Made(BASE, layer("file /srv x"))) == ["c /srv kind dir → file", "r /srv/s"]


def test_equal_layers_are_never_read(compare: Compare, registry: FakeRegistry) -> None:
    made = Made(BASE)
    assert compare(made, Made(BASE, config={"User": "app"})) == []
    assert blobs_asked_for(registry, made) == []
    other = Made(BASE, layer("file /etc/a A"))
    assert compare(made, other) == ["c /etc/a content (1 bytes)"]
    assert compare(made, other) == ["c /etc/a content (1 bytes)"]
    assert sorted(blobs_asked_for(registry, other)) == [0, 1]  # once each, whatever the number of comparisons


def test_settings() -> None:
    old = Made(config={"Env": ["A=1", "B=2=3"], "Cmd": ["sh"], "Labels": {"x": "1", "y": "2"}, "User": "me"})
    new = Made(config={"Env": ["A=1", "B=4"], "Cmd": ["sh", "-c"], "Labels": {"x": "1", "z": "3"}, "Volumes": {"/v": {}}})
    told = [(c.what, c.field, c.key, c.old, c.new) for c in config_changes(old.image, new.image)]
    assert told == [
        ("changed", "Cmd", "", '["sh"]', '["sh","-c"]'),
        ("changed", "Env", "B", "2=3", "4"),
        ("removed", "Labels", "y", "2", None),
        ("added", "Labels", "z", None, "3"),
        ("removed", "User", "", "me", None),
        ("added", "Volumes", "/v", None, "{}"),
    ]
    assert list(config_changes(old.image, old.image)) == []
    arm = Made(architecture="arm64")
    assert [c.field for c in config_changes(Made().image, arm.image)] == ["architecture"]

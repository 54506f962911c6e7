"""What a COPY asks of its root: nothing but the place it lands on and the directories above."""

import msgspec
import pytest

from firkin.builder.context.views import MemoryView
from firkin.builder.copy.destination import destination_of, has_destination_key
from firkin.builder.graph.ops import Copy, PathSource, TextSource
from firkin.layer.change import Entry

OP = Copy((PathSource(1, "/app/modules", wildcard=False),), "/srv/modules")
DIR, FILE = Entry("dir", 0o755, mtime_ns=5), Entry("file", 0o644)
ROOT = {"": DIR, "srv": DIR, "etc": DIR, "etc/passwd": FILE}


def destination(entries: dict[str, Entry], op: Copy = OP, latest_ns: int | None = None) -> str | None:
    return destination_of(op, MemoryView(entries, {}), latest_ns)


def changed(**parts: object) -> dict[str, Entry]:
    return {**ROOT, "srv": msgspec.structs.replace(DIR, **parts)}


def test_what_lies_elsewhere_does_not_count():
    assert destination(ROOT) == destination({**ROOT, "srv/bundle.js": FILE, "etc/shadow": FILE}) is not None


@pytest.mark.parametrize("parts", [{"mode": 0o700}, {"uid": 1}, {"gid": 1}, {"mtime_ns": 6}, {"xattrs": (("user.a", b"b"),)}])
def test_attributes_of_the_directories_above_count(parts):
    assert destination(ROOT) != destination(changed(**parts))


def test_times_count_up_to_a_limit():
    assert destination(ROOT, latest_ns=5) == destination(changed(mtime_ns=9), latest_ns=5)
    assert destination(ROOT, latest_ns=5) != destination(changed(mtime_ns=4), latest_ns=5)


def test_the_place_counts_where_links_lead():
    linked = {**ROOT, "www": Entry("symlink", 0o777, target="srv"), "other": DIR}
    through = msgspec.structs.replace(OP, dest="/www/modules")
    assert destination(linked, through) == destination(ROOT)
    elsewhere = {**linked, "www": Entry("symlink", 0o777, target="other")}
    assert destination(elsewhere, through) != destination(ROOT)


@pytest.mark.parametrize("there", [DIR, FILE, Entry("symlink", 0o777, target="/etc")])
def test_something_at_the_destination_is_a_question_of_the_whole_root(there):
    assert destination({**ROOT, "srv/modules": there}) is None
    assert destination(ROOT, msgspec.structs.replace(OP, dest="/")) is None


@pytest.mark.parametrize(
    "parts",
    [
        {"link": True},
        {"parents": True},
        {"unpack": "auto"},
        {"chown": "app"},
        {"chown": "1:app"},
        {"sources": (PathSource(1, "/a*", wildcard=True),)},
        {"sources": (PathSource(1, "/a", wildcard=False), PathSource(1, "/b", wildcard=False))},
        {"sources": (TextSource("name", "content"),)},
    ],
)
def test_a_copy_that_may_ask_for_more(parts):
    assert has_destination_key(OP) and has_destination_key(msgspec.structs.replace(OP, chown="1:2"))
    assert not has_destination_key(msgspec.structs.replace(OP, **parts))

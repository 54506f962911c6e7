"""Two layers compared member by member."""

import io

import pytest

from firkin.layer.change import Change, Entry, Put, Remove
from firkin.layer.members import compare_members, read_members
from firkin.layer.stream import write_layer

FILE = Entry("file", 0o644, 1, 2, 3, 5_000_000_000)


def members(*changes: Change) -> dict[str, object]:
    sink = io.BytesIO()
    write_layer(changes, sink)
    return dict(read_members([sink.getvalue()]))


def differences(old: tuple[Change, ...], new: tuple[Change, ...]) -> list[tuple[str, tuple[str, ...], bool]]:
    found = compare_members(members(*old), members(*new))  # type: ignore[arg-type]
    return [(item.path, item.what, item.only_time) for item in found]


def test_equal_layers_do_not_differ() -> None:
    layer = (Put("d", Entry("dir", 0o755)), Put("d/f", FILE, b"abc"), Remove("gone"))
    assert differences(layer, layer) == []
    assert list(members(*layer)) == ["d", "d/f", ".wh.gone"]


@pytest.mark.parametrize(
    ("new", "what"),
    [
        (Put("f", FILE, b"xyz"), ("content (3 bytes)",)),
        (Put("f", Entry("file", 0o644, 1, 2, 4, 5_000_000_000), b"abcd"), ("content (3 → 4 bytes)",)),
        (Put("f", Entry("file", 0o4600, 1, 2, 3, 5_000_000_000), b"abc"), ("mode 0644 → 4600",)),
        (Put("f", Entry("file", 0o644, 1, 0, 3, 5_000_000_000), b"abc"), ("owner 1:2 → 1:0",)),
        (Put("f", Entry("file", 0o644, 1, 2, 3, 7_000_000_000), b"abc"), ("time 5 → 7",)),
        (Put("f", Entry("symlink", 0o777, target="x")), ("kind file → symlink",)),
        (Remove("f"), ("is missing",)),
    ],
)
def test_what_differs(new: Change, what: tuple[str, ...]) -> None:
    found = differences((Put("f", FILE, b"abc"),), (new,))
    assert ("f", what, what[0].startswith("time")) in found


def test_links_and_attributes() -> None:
    old = (Put("a", FILE, b"abc"), Put("b", FILE, None, "a"), Put("s", Entry("symlink", 0o777, target="x")))
    again = Entry("file", 0o644, 1, 2, 3, 5_000_000_000, xattrs=(("user.k", b"v"),))
    new = (Put("a", again, b"abc"), Put("b", FILE, b"abc"), Put("s", Entry("symlink", 0o777, target="y")))
    assert [(path, what[0]) for path, what, _ in differences(old, new)] == [
        ("a", "extended attributes user.k"),
        ("b", "hard link a → (none)"),
        ("s", "link target x → y"),
    ]


def test_order_counts() -> None:
    a, b = Put("a", FILE, b"abc"), Put("b", FILE, b"abc")
    assert [what for _, what, _ in differences((a, b), (b, a))] == [("stands elsewhere in the archive",)]

"""One layer in the place of several: what it says, and what history says of it."""

from firkin.builder.context.views import MemoryView
from firkin.builder.output.squash import _folded, squashed_changes
from firkin.layer.change import Entry, Put, Remove
from firkin.oci.config import History

FOLDER = Entry("dir", 0o755)


def view(**files: str) -> MemoryView:
    """A tree of files by their paths (`__` for `/`)."""
    contents = {name.replace("__", "/"): text.encode() for name, text in files.items()}
    return MemoryView({path: Entry("file", size=len(data)) for path, data in contents.items()}, dict(contents))


def test_names_of_the_base_that_are_gone_and_what_is_new():
    base = view(etc__motd="m", etc__issue="i", opt__old="o", srv__kept="k")
    new = view(etc__issue="new", opt__fresh="f")
    full = view(etc__issue="new", opt__fresh="f", srv__kept="k")
    changes = list(squashed_changes(new, base, full))
    assert {change.path for change in changes if isinstance(change, Remove)} == {"etc/motd", "opt/old"}
    puts = {change.path: change for change in changes if isinstance(change, Put)}
    assert set(puts) == {"etc", "opt", "etc/issue", "opt/fresh"} and puts["etc/issue"].content == b"new"
    order = [change.path for change in changes]
    assert order.index("etc") < order.index("etc/motd") and order.index("opt") < order.index("opt/fresh")


def test_hard_links_stay_links():
    linked = Entry("file", size=1, inode=(1, 2))
    tree = MemoryView({"a": linked, "b": linked}, {"a": b"x", "b": b"x"})
    first, second = squashed_changes(tree, view(), tree)
    assert (first.path, first.link, first.content) == ("a", "", b"x")
    assert (second.path, second.link, second.content) == ("b", "a", None)


def test_history_keeps_every_line():
    lines = (History(created_by="base"), History(created_by="env", empty_layer=True), History(created_by="run"),
             History(created_by="copy"), History(created_by="cmd", empty_layer=True))  # fmt: skip
    assert [line.empty_layer for line in _folded(lines, 1)] == [False, True, True, False, True]
    assert [line.created_by for line in _folded(lines, 1)] == [line.created_by for line in lines]

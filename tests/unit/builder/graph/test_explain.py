"""Keys are compared part by part, and values of variables are never shown."""

import pytest

from firkin.builder.graph.explain import Difference, comparable, differences, explain
from firkin.builder.graph.key import Part

RUN: tuple[Part, ...] = (
    ("op", "run"), ("command", '["make"]'), ("environment", "A=1"), ("environment", "B=2"), ("workdir", "/"),
    ("root", "r1"), ("mounted files", "f1"), ("mounted files", "f2"),
)  # fmt: skip


def changed(**parts: str) -> tuple[Part, ...]:
    return tuple((name, parts.get(name, value)) for name, value in RUN)


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (RUN, ""),
        (changed(workdir="/src"), "the working directory (WORKDIR) changed: `/` → `/src`"),
        (changed(root="r2"), "the file system that it starts from (the base image, or a step before it) changed"),
        ((*RUN[:2], ("environment", "A=secret"), *RUN[3:]), "the value of variable `A` (ENV or ARG) changed"),
        ((*RUN[:2], *RUN[3:]), "variable `A` (ENV or ARG) is gone"),
        ((*RUN[:2], ("environment", "C=3"), *RUN[2:]), "variable `C` (ENV or ARG) is new"),
        ((*RUN[:2], RUN[3], RUN[2], *RUN[4:]), "the order of its variables (ENV and ARG) changed"),
        ((("op", "copy"),), "it is another instruction"),
    ],
)
def test_the_first_difference_is_told(new: tuple[Part, ...], told: str) -> None:
    assert explain(RUN, new) == told


def test_files_are_told_by_their_position() -> None:
    new = (*RUN[:-1], ("mounted files", "f3"))
    assert differences(RUN, new) == (Difference("mounted files", "changed", "1", ("f2",), ("f3",)),)


def test_all_differences_are_listed_in_the_order_of_the_key() -> None:
    new = changed(command='["make","all"]', workdir="/src", root="r2")
    assert [difference.name for difference in differences(RUN, new)] == ["command", "workdir", "root"]


def test_hashes_after_a_shown_value_are_not_told() -> None:
    """A value of which something was left out is followed by a hash, so that a change of the rest is seen."""
    old: tuple[Part, ...] = (("destination", "/x/${V}\0aa"),)
    assert explain(old, (("destination", "/x/${V}\0bb"),)) == "its destination changed"
    assert explain(old, (("destination", "/y\0bb"),)) == "its destination changed: `/x/${V}` → `/y`"


def test_times_count_only_where_both_keys_have_them_and_nothing_else_differs() -> None:
    plain: tuple[Part, ...] = (("op", "copy"), ("files", "f1"))
    early, late = (*plain, ("times", "t1")), (*plain, ("times", "t2"))
    assert differences(*comparable(plain, late)) == ()
    assert differences(*comparable(early, plain)) == ()
    assert explain(*comparable(early, late)) == "times that were set on the files that it copies changed"
    assert explain(*comparable(early, (("op", "copy"), ("files", "f2"), ("times", "t2")))).startswith("files that it")

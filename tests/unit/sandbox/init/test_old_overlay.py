"""Overlays on kernels that do not know `lowerdir+`: those before 6.5 take it, and complain of it in their log."""

from typing import Any

import pytest

from firkin.sandbox.spawn import emulated_codes


@pytest.fixture
def names() -> dict[str, Any]:
    """Return the names of the stand-alone program."""
    found: dict[str, Any] = {"__name__": "firkin_init"}
    for code in emulated_codes():
        exec(code, found)
    return found


@pytest.mark.parametrize("refused", ["lowerdir+=/a", "create"])
def test_the_older_call_is_used_where_layers_cannot_be_named_one_by_one(names: dict[str, Any], refused: str) -> None:
    def new_filesystem(kind: str, options: object, attributes: int) -> int:
        raise names["Failed"](f"mount {kind}", 22, refused)

    names["new_filesystem"] = new_filesystem
    names["overlay_before_6_5"] = lambda *given: given
    given = (("/a", "/b"), "/upper", "/work", 4, True)
    assert names["overlay"](*given) == given


@pytest.mark.parametrize(("number", "refused"), [(22, "upperdir=/upper"), (1, "create")])
def test_other_refusals_are_told(names: dict[str, Any], number: int, refused: str) -> None:
    def new_filesystem(kind: str, options: object, attributes: int) -> int:
        raise names["Failed"](f"mount {kind}", number, refused)

    names["new_filesystem"] = new_filesystem
    with pytest.raises(names["Failed"]):
        names["overlay"](("/a", "/b"), "/upper", "/work", 4, True)


@pytest.mark.parametrize(("release", "old"), [
    ("6.1.0-13-amd64", True), ("6.4.16", True), ("5.14.0-427.el9.x86_64", True), ("6.5.0-rc1", False),
    ("6.18-rc1", False), ("6.18.44-fc", False), ("10.0", False),
])  # fmt: skip
def test_kernels_that_would_complain_are_not_asked(names: dict[str, Any], release: str, old: bool) -> None:
    assert names["is_before_6_5"](release) is old


def test_nothing_is_tried_on_them(names: dict[str, Any]) -> None:
    names["is_before_6_5"] = lambda release: True
    names["new_filesystem"] = None
    names["overlay_before_6_5"] = lambda *given: given
    given = (("/a", "/b"), "/upper", "/work", 4, True)
    assert names["overlay"](*given) == given

"""Tuples with named fields that need no `typing`, as the stand-alone program loads them."""

import pytest

from firkin.sandbox.operations import Attach, Hostname, Pivot


def test_fields_have_places_and_names() -> None:
    attach = Attach("hosts", target="/etc/hosts", keep=False)
    assert (attach.name, attach.target, attach.keep) == tuple(attach) == ("hosts", "/etc/hosts", False)
    assert Pivot() == ()
    with pytest.raises(AttributeError):
        _ = attach.place  # type: ignore[attr-defined]


@pytest.mark.parametrize(("places", "names"), [((), {}), (("a", "b"), {}), (("a",), {"name": "b"}), ((), {"nam": "a"})])
def test_every_field_is_given_once(places: tuple[str, ...], names: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        Hostname(*places, **names)

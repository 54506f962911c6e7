"""Named tuples that are quick to define do what those of `typing` do."""

import copy
import pickle
import typing

import msgspec
import pytest

from firkin import tuples


class Lean(tuples.NamedTuple):
    """One of ours."""

    a: int
    b: str = "x"
    c: tuple[int, ...] = ()

    @property
    def twice(self) -> int:
        return self.a * 2


class Usual(typing.NamedTuple):
    """The same of `typing`."""

    a: int
    b: str = "x"
    c: tuple[int, ...] = ()

    @property
    def twice(self) -> int:
        return self.a * 2


CALLS = [((1,), {}), ((1, "y"), {}), ((1, "y", (2,)), {}), ((), {"a": 1}), ((1,), {"c": (3,)}), ((), {"c": (), "a": 5, "b": ""})]


@pytest.mark.parametrize(("values", "named"), CALLS)
def test_as_those_of_typing(values, named):
    lean, usual = Lean(*values, **named), Usual(*values, **named)
    assert lean == usual and tuple(lean) == tuple(usual) and hash(lean) == hash(usual)
    assert (lean.a, lean.b, lean.c, lean.twice) == (usual.a, usual.b, usual.c, usual.twice)
    assert lean._asdict() == usual._asdict()
    assert lean._replace(b="z") == usual._replace(b="z")
    assert repr(lean) == repr(usual).replace("Usual", "Lean")
    assert isinstance(lean._replace(a=2), Lean) and isinstance(lean, tuple)
    for again in (pickle.loads(pickle.dumps(lean)), copy.copy(lean), copy.deepcopy(lean)):
        assert again == lean and type(again) is Lean
    assert msgspec.json.encode(lean) == msgspec.json.encode(usual)
    assert msgspec.json.decode(msgspec.json.encode(lean), type=Lean) == lean


WRONG = [((), {}), ((1, "y", (), 4), {}), ((1,), {"a": 2}), ((1,), {"d": 2}), ((), {"b": "x"})]


@pytest.mark.parametrize(("values", "named"), WRONG)
def test_wrong_calls_are_refused(values, named):
    for kind in (Lean, Usual):
        with pytest.raises(TypeError):
            kind(*values, **named)


def test_fields_are_known_and_fixed():
    assert Lean._fields == Usual._fields == Lean.__match_args__
    assert Lean._field_defaults == Usual._field_defaults
    lean = Lean(1)
    for name in ("a", "new"):
        with pytest.raises(AttributeError):
            setattr(lean, name, 2)
    with pytest.raises(TypeError):
        lean._replace(d=1)
    match lean:
        case Lean(a, b, c):
            assert (a, b, c) == tuple(lean)
        case _:
            raise AssertionError


def test_two_classes_without_defaults_do_not_share_them():
    class Other(tuples.NamedTuple):
        b: str

    with pytest.raises(TypeError):
        Other()

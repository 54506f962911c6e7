"""msgspec is loaded lean, and works as it does otherwise."""

import subprocess
import sys

SCRIPT = """
import sys
from firkin.cli import lean_msgspec
import msgspec
loaded = {name for name in ("uuid", "decimal", "datetime", "textwrap", "enum", "re", "msgspec.inspect", "msgspec._json_schema")
          if name in sys.modules}
assert not loaded, loaded
class Point(msgspec.Struct):
    x: int
    names: tuple[str, ...] = ()
assert msgspec.json.decode(b'{"x": 1, "names": ["a"]}', type=Point) == Point(1, ("a",))
assert msgspec.msgpack.decode(msgspec.msgpack.encode(Point(2)), type=Point) == Point(2)
import datetime, decimal, enum, re, typing, uuid
Name = typing.Annotated[str, msgspec.Meta(pattern="^a+$")]
assert msgspec.json.decode(b'"aa"', type=Name) == "aa"
try:
    msgspec.json.decode(b'"b"', type=Name)
    raise AssertionError
except msgspec.ValidationError:
    pass
import msgspec.inspect
moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
assert msgspec.json.decode(msgspec.json.encode(moment), type=datetime.datetime) == moment
assert isinstance(uuid.uuid4(), uuid.UUID) and decimal.Decimal("1.5") * 2 == 3
assert msgspec.inspect.type_info(Point).cls is Point
"""


def test_nothing_of_what_stood_in_stays() -> None:
    path = f"import sys\nsys.path[:0] = {[place for place in sys.path if place]!r}\n"
    subprocess.run([sys.executable, "-I", "-S", "-c", path + SCRIPT], check=True)


TYPING = """
import sys
before = set(sys.modules)
assert not before & {"re", "typing", "enum"}, before
from firkin.cli import lean_msgspec
import typing
assert not {"re", "enum"} & set(sys.modules)
import re
assert typing.Pattern[str].__origin__ is re.Pattern and typing.Match[str].__origin__ is re.Match
assert re.sub("a+", "b", "caat") == "cbt"
class Point(typing.NamedTuple):
    x: "int" = 1
assert typing.get_type_hints(Point) == {"x": int}
import inspect
assert "def get_type_hints" in inspect.getsource(typing)
"""


def test_typing_does_without_patterns() -> None:
    """They and `enum` are half of what it takes."""
    path = f"import sys\nsys.path[:0] = {[place for place in sys.path if place]!r}\n"
    subprocess.run([sys.executable, "-I", "-S", "-c", path + TYPING], check=True)


def test_a_loaded_msgspec_stays_as_it_is() -> None:
    script = "import msgspec, sys\nfrom firkin.cli import lean_msgspec\nassert 'uuid' in sys.modules\n"
    subprocess.run([sys.executable, "-c", script], check=True)

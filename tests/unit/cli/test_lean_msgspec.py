"""msgspec is loaded lean, and works as it does otherwise."""

import subprocess
import sys

SCRIPT = """
import sys
from firkin.cli import lean_msgspec
import msgspec
loaded = {name for name in ("uuid", "decimal", "datetime", "textwrap", "msgspec.inspect", "msgspec._json_schema")
          if name in sys.modules}
assert not loaded, loaded
class Point(msgspec.Struct):
    x: int
    names: tuple[str, ...] = ()
assert msgspec.json.decode(b'{"x": 1, "names": ["a"]}', type=Point) == Point(1, ("a",))
assert msgspec.msgpack.decode(msgspec.msgpack.encode(Point(2)), type=Point) == Point(2)
import datetime, decimal, uuid
import msgspec.inspect
moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
assert msgspec.json.decode(msgspec.json.encode(moment), type=datetime.datetime) == moment
assert isinstance(uuid.uuid4(), uuid.UUID) and decimal.Decimal("1.5") * 2 == 3
assert msgspec.inspect.type_info(Point).cls is Point
"""


def test_nothing_of_what_stood_in_stays() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def test_a_loaded_msgspec_stays_as_it_is() -> None:
    script = "import msgspec, sys\nfrom firkin.cli import lean_msgspec\nassert 'uuid' in sys.modules\n"
    subprocess.run([sys.executable, "-c", script], check=True)

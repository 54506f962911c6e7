"""Many threads may decode a type for the first time at once."""

import subprocess
import sys

import msgspec
import pytest

from firkin import decode

# What goes wrong ends the process, hence one of its own. Without the lock it is over within some ten types.
PROGRAM = """
import sys, threading, msgspec
from firkin.decode import convert, decode_json, decode_msgpack

sys.setswitchinterval(1e-6)

def make(number):
    inner = msgspec.defstruct(f"Inner{number}", [(f"f{field}", str | None, None) for field in range(20)])
    fields = [(f"f{field}", dict[str, inner] if field % 3 == 0 else int | None, None) for field in range(60)]
    return inner, msgspec.defstruct(f"Outer{number}", fields)

VALUE = {"f59": 1, "f0": {"a": {"f19": "x"}}}
JSON, MSGPACK = msgspec.json.encode(VALUE), msgspec.msgpack.encode(VALUE)
for number in range(200):
    inner, outer = make(number)
    together = threading.Barrier(4)
    found = []
    def one(decode, *rest):
        together.wait()
        found.append(decode(*rest))
    work = [(decode_json, JSON, outer), (decode_msgpack, MSGPACK, outer), (convert, VALUE, outer), (decode_json, b"{}", inner)]
    threads = [threading.Thread(target=one, args=each) for each in work]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    outers = [each for each in found if isinstance(each, outer)]
    assert len(found) == 4 and len(outers) == 3 and all(each.f59 == 1 and each.f0["a"].f19 == "x" for each in outers), found
print("held")
"""


def test_threads_that_meet_a_type_at_once():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


def test_values_and_errors_are_those_of_msgspec():
    class Point(msgspec.Struct):
        x: int

    assert decode.decode_json(b'{"x": 1}', Point) == decode.decode_msgpack(msgspec.msgpack.encode({"x": 1}), Point)
    assert decode.convert({"x": "1"}, Point, strict=False) == Point(1)
    assert decode.json_decoder(Point) is decode.json_decoder(Point)
    assert decode.msgpack_decoder(Point | None).decode(b"\xc0") is None
    for data in (b'{"x": "1"}', b"{", b"\xff"):
        with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
            decode.decode_json(data, Point)

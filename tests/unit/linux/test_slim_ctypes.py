"""The small `ctypes`: what it makes is what the large one makes."""

import ctypes
import errno
import os

from firkin.linux import slim_ctypes as slim


def test_types_are_as_large_as_those_of_ctypes() -> None:
    names = [name for name in slim.__all__ if name.startswith("c_")]
    assert "c_long" in names
    for name in names:
        assert ctypes.sizeof(getattr(slim, name)) == ctypes.sizeof(getattr(ctypes, name)), name


def test_a_structure_has_the_layout_of_c() -> None:
    fields = (("kind", "c_short"), ("start", "c_int64"), ("pid", "c_int"), ("place", "c_void_p"))
    small = type("Small", (slim.Structure,), {"_fields_": [(name, getattr(slim, kind)) for name, kind in fields]})
    large = type("Large", (ctypes.Structure,), {"_fields_": [(name, getattr(ctypes, kind)) for name, kind in fields]})
    assert bytes(small(1, 2, 3, 4)) == bytes(large(1, 2, 3, 4))


def test_a_call_that_fails_leaves_its_errno() -> None:
    for library in (slim.CDLL(None, use_errno=True), slim.PyDLL(None, use_errno=True)):
        assert library.open(b"/nothing/here", 0) == -1
        assert slim.get_errno() == errno.ENOENT == ctypes.get_errno()
        assert library.getpid() == os.getpid()


def test_results_and_arguments_may_be_longs() -> None:
    call = slim.CDLL(None, use_errno=True).labs
    call.restype = slim.c_long
    assert call(slim.c_long(-(1 << 40))) == 1 << 40


def test_buffers() -> None:
    assert bytes(slim.create_string_buffer(3)) == bytes(3)
    assert bytes(slim.create_string_buffer(b"a\0b")) == b"a\0b\0"
    assert bytes(slim.create_string_buffer(b"a\0", 2)) == b"a\0"
    buffer = slim.create_string_buffer(b"abcdef", 6)
    slim.memset(slim.addressof(buffer), 0, 3)
    slim.memmove(slim.addressof(buffer) + 1, b"xyz", 2)
    assert bytes(buffer) == b"\0xydef"

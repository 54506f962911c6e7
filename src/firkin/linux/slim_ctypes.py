"""What firkin needs of `ctypes`, in a quarter of the time. Does I/O.

That package makes all C types there are when it loads. This one is made of the same compiled module `_ctypes`, so what
both make fits together. The monitor's program has it under the name `ctypes` (`containers/link/program.py`). All
functions keep errno aside for `get_errno`.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import (
        CDLL,
        PyDLL,
        Structure,
        addressof,
        byref,
        c_char_p,
        c_int,
        c_int64,
        c_long,
        c_short,
        c_uint32,
        c_uint64,
        c_ulong,
        c_ushort,
        c_void_p,
        create_string_buffer,
        get_errno,
        memmove,
        memset,
    )
else:
    import _ctypes
    from _ctypes import Structure, addressof, byref, get_errno

    class c_char(_ctypes._SimpleCData):
        _type_ = "c"

    class c_short(_ctypes._SimpleCData):
        _type_ = "h"

    class c_ushort(_ctypes._SimpleCData):
        _type_ = "H"

    class c_int(_ctypes._SimpleCData):
        _type_ = "i"

    class c_uint32(_ctypes._SimpleCData):
        _type_ = "I"

    class c_long(_ctypes._SimpleCData):
        _type_ = "l"

    class c_ulong(_ctypes._SimpleCData):
        _type_ = "L"

    class c_int64(_ctypes._SimpleCData):
        _type_ = "q"

    class c_uint64(_ctypes._SimpleCData):
        _type_ = "Q"

    class c_char_p(_ctypes._SimpleCData):
        _type_ = "z"

    class c_void_p(_ctypes._SimpleCData):
        _type_ = "P"

    class Function(_ctypes.CFuncPtr):
        """A function of C that returns an int, if nobody sets `restype`."""

        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = c_int

    class LockedFunction(_ctypes.CFuncPtr):
        """The same, with the interpreter's lock held."""

        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO | _ctypes.FUNCFLAG_PYTHONAPI
        _restype_ = c_int

    class CDLL:
        """A library; `name` None stands for what the interpreter is linked with."""

        kind = Function

        def __init__(self, name, use_errno=True):
            self._handle = _ctypes.dlopen(name, 0)

        def __getattr__(self, name):
            function = self.kind(_ctypes.dlsym(self._handle, name))
            setattr(self, name, function)
            return function

    class PyDLL(CDLL):
        """The same; its functions keep the interpreter's lock."""

        kind = LockedFunction

    def create_string_buffer(data, size=None):
        """Return an array of bytes: so many zeros; or `data` with a zero behind it, or in `size` bytes."""
        if isinstance(data, int):
            return (c_char * data)()
        buffer = (c_char * (len(data) + 1 if size is None else size))()
        buffer.value = data
        return buffer

    def memset(place, byte, size):
        """Fill memory at an address."""
        CDLL(None).memset(c_void_p(place), byte, c_ulong(size))

    def memmove(place, data, size):
        """Copy bytes to an address."""
        CDLL(None).memmove(c_void_p(place), data, c_ulong(size))


__all__ = (
    "CDLL", "PyDLL", "Structure", "addressof", "byref", "c_char_p", "c_int", "c_int64", "c_long", "c_short", "c_uint32",
    "c_uint64", "c_ulong", "c_ushort", "c_void_p", "create_string_buffer", "get_errno", "memmove", "memset",
)  # fmt: skip

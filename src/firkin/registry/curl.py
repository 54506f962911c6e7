"""The only import of pycurl, without its asyncio interface. Does I/O. `transport` and `failures` import it.

The imports of that interface (dataclasses, inspect, ast) take as long as libcurl itself, at every start.
"""

from __future__ import annotations

import sys
from types import ModuleType

_FRONT = "pycurl.async_multi"

if "pycurl" in sys.modules:
    import pycurl as pycurl
else:
    _stand_in = ModuleType(_FRONT)
    _stand_in.AsyncCurlMulti = None  # type: ignore[attr-defined]
    sys.modules[_FRONT] = _stand_in
    try:
        import pycurl as pycurl
    finally:
        del sys.modules[_FRONT]

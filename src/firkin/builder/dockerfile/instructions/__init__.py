"""The instructions, one module each: node, `parse` and `lower`. Pure. `parse.py` and `lower.py` import `row_of`.

A module is loaded when its keyword is met: a Dockerfile has a few of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from firkin.builder.dockerfile.lines import RawInstruction
    from firkin.builder.dockerfile.state import LowerContext, StageState
    from firkin.builder.dockerfile.syntax import Instruction

KEYWORDS: Final = tuple(
    "add arg cmd copy entrypoint env expose from healthcheck label maintainer onbuild run shell stopsignal user volume "
    "workdir".split()
)
_MODULES: Final = {"from": "from_"}  # where the keyword is also one of Python's


class Row(NamedTuple):
    """The functions of a keyword: `parse` turns text into a node, `lower` folds a node into the stage's state."""

    parse: Callable[[RawInstruction], Instruction]
    lower: Callable[[Any, StageState, LowerContext], None]


@cache
def row_of(keyword: str) -> Row:
    """Return the functions of one of KEYWORDS."""
    module = import_module(f"{__name__}.{_MODULES.get(keyword, keyword)}")
    return Row(module.parse, module.lower)

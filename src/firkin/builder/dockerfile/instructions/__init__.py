"""The instructions, one module each: node, `parse` and `lower`. Pure. `parse.py` and `lower.py` import TABLE."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, NamedTuple

from firkin.builder.dockerfile.instructions import (
    add,
    arg,
    cmd,
    copy,
    entrypoint,
    env,
    expose,
    from_,
    healthcheck,
    label,
    maintainer,
    onbuild,
    run,
    shell,
    stopsignal,
    user,
    volume,
    workdir,
)
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction


class Row(NamedTuple):
    """A keyword with its functions: `parse` turns text into a node, `lower` folds a node into the stage's state."""

    keyword: str
    parse: Callable[[RawInstruction], Instruction]
    lower: Callable[[Any, StageState, LowerContext], None]


def _row(keyword: str, module: ModuleType) -> Row:
    return Row(keyword, module.parse, module.lower)


TABLE: Final = {
    row.keyword: row
    for row in (
        _row("add", add),
        _row("arg", arg),
        _row("cmd", cmd),
        _row("copy", copy),
        _row("entrypoint", entrypoint),
        _row("env", env),
        _row("expose", expose),
        _row("from", from_),
        _row("healthcheck", healthcheck),
        _row("label", label),
        _row("maintainer", maintainer),
        _row("onbuild", onbuild),
        _row("run", run),
        _row("shell", shell),
        _row("stopsignal", stopsignal),
        _row("user", user),
        _row("volume", volume),
        _row("workdir", workdir),
    )
}

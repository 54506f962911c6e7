"""Several arguments: each is tried, and what failed is told at the end. Does I/O. `cli.commands` only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from firkin.cli.hints import COMMAND_LINE
from firkin.cli.store import say
from firkin.errors import Cancelled, FirkinError

T = TypeVar("T")


def each(items: Iterable[T], work: Callable[[T], None]) -> None:
    """Do the work for every item; when it failed for some, print all errors but the last, and raise that one.

    Mirrors: docker/cli, which joins the errors of all arguments. Whoever stops the command stops the rest as well.
    """
    failed: list[FirkinError] = []
    for item in items:
        try:
            work(item)
        except Cancelled:
            raise
        except FirkinError as error:
            failed.append(error)
    for earlier in failed[:-1]:
        from firkin.render.report import error_text

        earlier.put(COMMAND_LINE)
        say(error_text(earlier, terminal=os.isatty(2)))
    if failed:
        raise failed[-1]

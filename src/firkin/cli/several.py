"""Several arguments: each is tried, and what failed is told at the end. Does I/O. `cli.commands` only."""

from __future__ import annotations

import os

from firkin.cli.run import write_message, write_out
from firkin.errors import Cancelled, FirkinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

_MOST_AT_ONCE = 50


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
        from firkin.cli.hints import COMMAND_LINE
        from firkin.render.report import error_text

        earlier.put(COMMAND_LINE)
        write_message(f"{error_text(earlier, terminal=os.isatty(2))}\n")
    if failed:
        raise failed[-1]


def at_once(items: Sequence[str], work: Callable[[str], str]) -> None:
    """Do work that waits for all items at once, 50 at most, and print a line for each in their order; else as `each`.

    Mirrors: docker/cli parallelOperation.
    """
    if len(items) == 1:
        write_out(f"{work(items[0])}\n")
        return
    from functools import partial

    from firkin.tasks.pools import Pool

    pool = Pool("container", _MOST_AT_ONCE)
    tasks = [pool.submit(partial(work, item)) for item in items]
    try:
        each(tasks, lambda task: write_out(f"{task.result()}\n"))
    finally:
        pool.close(Cancelled("the command was stopped"))

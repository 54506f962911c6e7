"""Access to the store and the registries for commands other than `build`. Does I/O."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firkin.cli.command import Invocation
from firkin.cli.requests import settings_of
from firkin.cli.run import Interrupted, dockers_exit_code, handle, write_message
from firkin.errors import Cancelled, FirkinError, UsageError
from firkin.images import find
from firkin.images.find import Found
from firkin.linux.ending import watch
from firkin.oci.platform import Platform
from firkin.settings import Settings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient


def open_store(invocation: Invocation) -> tuple[Store, Settings]:
    """Return the store (a context manager) and the settings of an invocation."""
    settings = settings_of(invocation.arguments, invocation.ambient)
    watch()
    return Store(settings.root, time.time), settings


def find_image(store: Store, text: str, platform: Platform | None = None) -> Found:
    """Return the image of the store that a name, an id or a digest means (images/find.py); suggests a similar name.

    Raises UsageError if there is none.
    """
    try:
        return find.find_image(store, text, platform)
    except UsageError as error:
        meant = find.nearest_name(store, text)
        if error.code != "no-image" or not meant:
            raise
        raise UsageError(error.message, code=error.code, hints=(f"did you mean `{meant}`?",)) from None


def warn_plainly(code: str, message: str) -> None:
    """Write a warning to standard error."""
    say(f"warning: {message} ({code})")


def open_client(
    settings: Settings, cancel: Cancel, warn: Callable[[str, str], None] = warn_plainly
) -> RegistryClient:
    """Return a client (a context manager)."""
    from firkin.registry.client import RegistryClient  # takes 20 ms, and most commands need none

    return RegistryClient(settings.registry, cancelled=cancel, warn=warn)


@contextmanager
def freeing_store(invocation: Invocation) -> Iterator[Store]:
    """Open the store to remove something: on a full disk with what it holds in reserve for this."""
    from firkin.store.layout import give_up_reserve, is_full

    store, settings = open_store(invocation)
    if os.path.isdir(settings.root) and is_full(settings.root):
        give_up_reserve(settings.root)
    with store:
        yield store
        store.layout.set_aside()


def run_in_namespaces(root: str, work: Callable[[], int]) -> int:
    """Run work on a store in the namespaces of a build, since layers may belong to subordinate ids; pass signals on."""
    import signal

    from firkin.cli.hints import COMMAND_LINE
    from firkin.linux.enter import NamespacePlan, fork_into_namespaces
    from firkin.linux.syscalls import set_parent_death_signal
    from firkin.render.report import error_text
    from firkin.worker.start import find_backend

    def child() -> int:
        os.setsid()  # a terminal's Ctrl-C arrives once, from the process outside
        set_parent_death_signal(signal.SIGTERM)
        watch()
        try:
            return work()
        except FirkinError as error:
            error.put(COMMAND_LINE)
            say(error_text(error, terminal=os.isatty(2)))
            return dockers_exit_code(error)
        except Interrupted as interrupted:
            return 128 + interrupted.number

    def pass_on(number: int, frame: object) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it has just ended

    backend = find_backend(root, "auto")
    plan = NamespacePlan(mount=False) if isinstance(backend, FirkinError) else backend.enter
    pid = fork_into_namespaces(plan, child)
    handle(pass_on)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


def say(text: str) -> None:
    """Write a message for people, which is not data, to standard error."""
    write_message(text + "\n")


def with_interrupts(work: Callable[[Cancel], int]) -> int:
    """Run work that Ctrl-C, SIGTERM or SIGHUP stops."""
    cancel = Cancel()
    handle(lambda number, frame: cancel.set(number))
    watch()
    try:
        return work(cancel)
    except Cancelled as cancelled:
        if cancel.signal:  # else nobody reads any more, and its code says so
            cancelled.exit_code = 128 + cancel.signal
        raise

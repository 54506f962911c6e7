"""What a container needs of the store and the machine before it can be made: the store itself, a backend. Does I/O.

Trials of the machine take about ten milliseconds, so their result is kept for this boot, together with the facts that
it depends on. A change of any of them (another kernel, another range in /etc/subuid, a capability that is gone) makes
the trials run again.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

import msgspec

from firkin.backend import Backend, choose_backend
from firkin.containers.home.home import Home, write_document
from firkin.decode import decode_json
from firkin.errors import FirkinError, StoreError
from firkin.hints import Hint
from firkin.store.boot import read_boot_id
from firkin.store.versions import STORE_VERSION

_SETTINGS = (
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
)
_FILES = ("/etc/subuid", "/etc/subgid", "/etc/passwd", "/usr/bin/newuidmap", "/usr/bin/newgidmap")
_STATUS = ("CapEff", "NoNewPrivs", "Seccomp")


class _Known(msgspec.Struct, frozen=True):
    """The choice, and what it was made of."""

    facts: tuple[str, ...]
    backend: Backend


def ensure_store(root: str) -> None:
    """Make the store if it is missing; once a boot let it check itself. Raises StoreError."""
    from firkin.store.layout import check_owner

    check_owner(root)
    try:
        with open(f"{root}/version", encoding="utf-8", errors="replace") as file:
            ready = file.read().strip() == str(STORE_VERSION)
        with open(f"{root}/boot", encoding="utf-8", errors="replace") as file:
            ready = ready and file.read().strip() == read_boot_id()
    except OSError:
        ready = False
    if not ready:
        from firkin.store.store import Store

        make_root(root)
        with Store(root, time.time):
            pass


def make_root(root: str) -> None:
    """Make the directory of a store; raises StoreError."""
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the store {root}: {(error.strerror or '').lower()}", hints=(Hint.of("store-place"),)
        ) from error


def known_backend(home: Home) -> Backend:
    """Return the backend that was chosen in this boot, or choose it. Raises HostError."""
    facts = _facts(home.root)
    path = f"{home.runtime_base}/backend.json"
    try:
        home.ensure_runtime()
    except FirkinError:
        return _choose(home.root)  # what others could have written is not read
    with suppress(OSError, ValueError):
        with open(path, "rb") as file:
            known = decode_json(file.read(), _Known)
            if known.facts == facts:
                return known.backend
    backend = _choose(home.root)
    with suppress(FirkinError):  # it is only quicker with it
        write_document(path, msgspec.json.encode(_Known(facts, backend)), sync=False)
    return backend


def _choose(root: str) -> Backend:
    from firkin.linux.probe import probe_host, user_name

    make_root(root)
    return choose_backend(probe_host(user=user_name(), trial_dir=root))


def _facts(root: str) -> tuple[str, ...]:
    """Return everything cheap to know that trials depend on."""
    system = os.uname()
    found = [read_boot_id(), system.release, system.machine, f"{os.geteuid()}:{os.getegid()}"]
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        found += [line.strip() for line in file if line.startswith(_STATUS)]
    for path in _SETTINGS:
        try:
            with open(path, encoding="utf-8") as file:
                found.append(file.read().strip())
        except OSError:
            found.append("")
    for path in _FILES:
        try:
            there = os.stat(path)
            found.append(f"{there.st_ino} {there.st_mtime_ns} {there.st_mode}")
        except OSError:
            found.append("")
    for name in ("mnt", "user", "pid"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/ns/{name}"))
    with suppress(OSError):
        there = os.stat(root)
        found.append(f"{there.st_dev} {there.st_ino}")
    return tuple(found)

"""What this machine offers for builds and containers, and for each way that it lacks how to get it. Does I/O."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from firkin import __version__
from firkin.about.containers import cgroup_facts, containers_document
from firkin.ambient import Ambient, private_paths
from firkin.backend import Requirements, choose_backend, list_offers
from firkin.errors import HostError, StoreError
from firkin.hints import Hint, Texts, hint_text
from firkin.linux.harden import find_exposed, in_executor_image
from firkin.linux.probe import CAP_SYS_ADMIN, HostFacts, probe_host, user_name
from firkin.linux.syscalls import LANDLOCK_SCOPES_ABI, landlock_abi
from firkin.settings import Settings
from firkin.store.layout import check_owner


def machine_document(settings: Settings, ambient: Ambient, texts: Texts) -> dict[str, Any]:
    """Return firkin's own facts, the ways to keep RUN steps apart among them; hints are in the words of `texts`.

    Sizes are in bytes; `used_bytes` is None if there is no store yet. Makes the directory of the store, in which
    mounts are tried. Raises StoreError.
    """
    try:
        os.makedirs(settings.root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the store {settings.root}: {(error.strerror or '').lower()}", hints=(Hint.of("store-place"),)
        ) from error
    check_owner(settings.root)
    facts = probe_host(user=user_name(), trial_dir=settings.root, every_trial=True)
    credentials = find_exposed((*settings.registry.auth_files, *private_paths(ambient)))
    requirements = Requirements(inplace=in_executor_image(), exposed=credentials)
    landlock = landlock_abi()
    space = os.statvfs(settings.root)
    return {
        "version": __version__,
        "python": sys.version.split()[0],
        "kernel": os.uname().release,
        "machine": facts.machine,
        "uid": facts.uid,
        "root": settings.root,
        "free_bytes": space.f_bavail * space.f_frsize,
        "used_bytes": _used(settings.root),
        "gc": {"max_used_bytes": settings.gc.max_used_bytes, "keep_age_s": settings.gc.keep_age_s},
        "cores": len(os.sched_getaffinity(0)),
        "isolation": _chosen(facts, requirements),
        "landlock": landlock,
        "shared": _shared(facts, landlock),
        "mirrors": {mirror.registry: mirror.location for mirror in settings.registry.mirrors},
        "containers": containers_document(cgroup_facts(ambient)),
        "ways": [
            {
                "name": offer.name,
                "isolation": offer.isolation,
                "available": offer.available,
                "detail": offer.detail,
                "how": hint_text(offer.how, texts),
            }
            for offer in list_offers(facts, requirements)
        ],
    }


def _used(root: str) -> int | None:
    """Return the size of the layers and blobs in the store, as far as measured; None if there is no store."""
    from firkin.store.store import Store
    from firkin.store.usage import recorded_use

    if not os.path.exists(f"{root}/version"):
        return None
    with Store(root, time.time) as store:
        return sum(use.size_bytes for use in recorded_use(store))


def _chosen(facts: HostFacts, requirements: Requirements) -> str:
    try:
        backend = choose_backend(facts, requirements)
    except HostError as error:
        return f"none: {error.message}"
    return f"{backend.rootfs} + {backend.sandbox}: {', '.join(backend.reasons)}"


def _shared(facts: HostFacts, landlock: int) -> str:
    """Return what steps share with this machine in every isolation, and what the kernel keeps from them."""
    network = "the network of this machine, but for RUN and builds with network `none`"
    if landlock < LANDLOCK_SCOPES_ABI:
        return f"{network}; abstract sockets too: Landlock of Linux 6.12 would keep those apart"
    if not facts.can(CAP_SYS_ADMIN) and facts.uid == 0 and not facts.no_new_privs:
        return f"{network}; abstract sockets too, unless in namespaces: CAP_SYS_ADMIN is missing"
    return f"{network}; abstract sockets of others are out of reach (Landlock {landlock})"

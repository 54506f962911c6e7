"""`firkin info`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
import sys
import time

from firkin import __version__
from firkin.ambient import private_paths
from firkin.backend import Offer, Requirements, choose_backend, list_offers
from firkin.cli.command import Invocation
from firkin.cli.hints import COMMAND_LINE
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.errors import HostError, StoreError
from firkin.hints import hint_text
from firkin.linux.harden import find_exposed, in_executor_image
from firkin.linux.probe import CAP_SYS_ADMIN, HostFacts, probe_host, user_name
from firkin.linux.syscalls import LANDLOCK_SCOPES_ABI, landlock_abi
from firkin.store.layout import check_owner

USAGE = "[OPTIONS]"
ABOUT = (
    "Show what this machine offers for builds: the ways in which RUN steps can be kept apart from it, and for each "
    "that is not available what is missing and how to get it."
)
OPTIONS = (Option(("--json",), "json", "flag", "print JSON", takes_value=False), *REGISTRY, *COMMON)


def run(invocation: Invocation) -> int:
    """Probe, and print the facts. Raises StoreError."""
    settings = settings_of(invocation.arguments, invocation.ambient)
    try:
        os.makedirs(settings.root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the store {settings.root}: {(error.strerror or '').lower()}",
            hints=("`--root DIR` names another place",),
        ) from error
    check_owner(settings.root)
    facts = probe_host(user=user_name(), trial_dir=settings.root, every_trial=True)
    credentials = find_exposed((*settings.registry.auth_files, *private_paths(invocation.ambient)))
    requirements = Requirements(inplace=in_executor_image(), exposed=credentials)
    offers = list_offers(facts, requirements)
    chosen = _chosen(facts, requirements)
    space = os.statvfs(settings.root)
    document = {
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
        "isolation": chosen,
        "landlock": landlock_abi(),
        "shared": _shared(facts, landlock_abi()),
        "mirrors": {mirror.registry: mirror.location for mirror in settings.registry.mirrors},
        "ways": [
            {
                "name": x.name,
                "isolation": x.isolation,
                "available": x.available,
                "detail": x.detail,
                "how": hint_text(x.how, COMMAND_LINE),
            }
            for x in offers
        ],
    }
    if invocation.arguments.flag("json"):
        import msgspec

        write_out(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    else:
        write_out(_text(document, offers))
    return 0


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
    network = "the network of this machine (not with `--network none`)"
    if landlock < LANDLOCK_SCOPES_ABI:
        return f"{network}; abstract sockets too: Landlock of Linux 6.12 would keep those apart"
    if not facts.can(CAP_SYS_ADMIN) and facts.uid == 0 and not facts.no_new_privs:
        return f"{network}; abstract sockets too, unless in namespaces: CAP_SYS_ADMIN is missing"
    return f"{network}; abstract sockets of others are out of reach (Landlock {landlock})"


def _text(document: dict[str, object], offers: tuple[Offer, ...]) -> str:
    from firkin.render.text import human_size

    free = human_size(int(str(document["free_bytes"])))
    known = document["used_bytes"]
    used = "" if known is None else f"{human_size(int(str(known)))} used (see `firkin du`), "
    lines = [
        f"firkin {document['version']}, Python {document['python']}",
        f"Linux {document['kernel']} {document['machine']}, {document['cores']} cores, uid {document['uid']}",
        f"store {document['root']}, {used}{free} free",
        f"builds run with {document['isolation']}",
        f"steps share {document['shared']}",
        "",
    ]
    for offer in offers:
        lines.append(f"{'yes' if offer.available else 'no ':3}  {offer.name}")
        lines.append(f"     {offer.detail}")
        if offer.how and not offer.available:
            lines.append(f"     to get it: {hint_text(offer.how, COMMAND_LINE)}")
    return "\n".join(lines) + "\n"

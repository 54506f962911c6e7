"""`firkin system prune`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
import time

from firkin.cli.asking import confirmed
from firkin.cli.command import Invocation
from firkin.cli.commands.buildx_prune import tell_recent
from firkin.cli.commands.container_prune import deleted_text
from firkin.cli.commands.container_prune import fitting as fitting_containers
from firkin.cli.commands.image_prune import ALL, FILTER, FORCE, fitting, pruned_text
from firkin.cli.docker_config import read_docker_config
from firkin.cli.engine import open_engine
from firkin.cli.filters import Filters, parse_filters
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.store import run_in_namespaces
from firkin.containers.prune import Pruned, prune_containers, prune_volumes
from firkin.errors import UsageError
from firkin.images.prune import prune_images
from firkin.render.units import size4
from firkin.store.gc import prune
from firkin.store.layout import give_up_reserve, is_full
from firkin.store.pruned import Pruned as PrunedCache
from firkin.store.store import Store

USAGE = "[OPTIONS]"
ABOUT = (
    "Remove what is not in use: containers that do not run, images without a tag (with `--all` all that no container "
    "uses), and the build cache. With a label filter the cache stays, as it has no labels."
)
OPTIONS = (
    ALL,
    FORCE,
    FILTER,
    Option(("--volumes",), "volumes", "flag", "volumes without a name as well, if no container mounts them",
           takes_value=False),
    *COMMON,
)
KEYS = ("label", "label!", "until")


def run(invocation: Invocation) -> int:
    """Ask, prune in the namespaces of a build, tell. Raises UsageError."""
    arguments, ambient = invocation
    words = read_docker_config(ambient).prune_words(arguments.many("filter"))
    filters, everything = parse_filters(words, KEYS), arguments.flag("all")
    if arguments.flag("volumes") and filters.of("until"):
        raise UsageError('ERROR: The "until" filter is not supported with "--volumes"')
    fits, before_s = fitting(filters, ambient.now_s), filters.before_s(ambient.now_s)
    question = warning(words, everything=everything, volumes=arguments.flag("volumes"))
    if not arguments.flag("force") and not confirmed(question):
        return 0
    engine = open_engine(invocation)
    root = engine.root
    if os.path.isdir(root) and is_full(root):
        give_up_reserve(root)
    containers = prune_containers(engine, fitting_containers(filters, ambient.now_s))
    volumes = Pruned()
    if arguments.flag("volumes"):
        volumes = prune_volumes(engine, fits=lambda volume: filters.labels_fit(volume.labels or {}))

    def child() -> int:
        with Store(root, time.time) as store:
            images = prune_images(store, fits, dangling_only=not everything)
            cache = _cache(store, filters, ambient.now_s, before_s)
            store.layout.set_aside()
        write_out(deleted_text("Containers", containers) + deleted_text("Volumes", volumes))
        write_out(pruned_text(images) + _objects(cache))
        freed = containers.freed_bytes + volumes.freed_bytes + images.removal.freed_bytes + cache.size_bytes
        write_out(f"Total reclaimed space: {size4(freed)}\n")
        tell_recent(cache)
        return 0

    return run_in_namespaces(root, child)


def warning(words: tuple[str, ...], *, everything: bool, volumes: bool) -> str:
    """Return what docker warns of. Mirrors: docker/cli cli/command/system/prune.go."""
    lines = [
        "all stopped containers",
        "all networks not used by at least one container",
        *(["all anonymous volumes not used by at least one container"] if volumes else []),
        "all images without at least one container associated to them" if everything else "all dangling images",
        "all build cache" if everything else "unused build cache",
    ]
    text = "WARNING! This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    if words:
        text += "\n  Items to be pruned will be filtered with:\n" + "".join(f"  - {word}\n" for word in sorted(words))
    return text


def _cache(store: Store, filters: Filters, now_s: float, before_s: float | None) -> PrunedCache:
    if filters.of("label") or filters.of("label!"):
        return PrunedCache(())
    age_s = 0.0 if before_s is None else max(0.0, now_s - before_s)
    return prune(store, now=now_s, older_than_s=age_s, unnamed_images=False, recent=True)


def _objects(cache: PrunedCache) -> str:
    lines = "".join(f"{name}\n" for name in dict.fromkeys(item.name for item in cache.freed))
    return f"Deleted build cache objects:\n{lines}\n" if lines else ""

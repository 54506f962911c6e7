"""`firkin image prune`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.asking import confirmed
from firkin.cli.command import Invocation
from firkin.cli.docker_config import read_docker_config
from firkin.cli.filters import Filters, parse_filters
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.store import freeing_store, say
from firkin.images.list import Listed
from firkin.images.prune import Fits, PrunedImages, prune_images
from firkin.render.units import size4
from firkin.text import seconds_of

USAGE = "[OPTIONS]"
ABOUT = (
    "Remove images without a tag, or with `--all` those that no container uses. An image is older than `until` "
    "if it was made, and came into the store, before."
)
ALL = Option(("--all", "-a"), "all", "flag", "remove images that have a name as well", takes_value=False)
FORCE = Option(("--force", "-f"), "force", "flag", "do not ask", takes_value=False)
FILTER = Option(("--filter",), "filter", "many", "only images that fit: `until=TIME`, `label=KEY[=VALUE]`, `label!=…`",
                "KEY=VALUE")  # fmt: skip
OPTIONS = (ALL, FORCE, FILTER, *COMMON)
KEYS = ("dangling", "label", "label!", "until")
WARNINGS = {
    False: "WARNING! This will remove all dangling images.",
    True: "WARNING! This will remove all images without at least one container associated to them.",
}


def run(invocation: Invocation) -> int:
    """Ask, prune, tell. Raises UsageError."""
    arguments, ambient = invocation
    given = read_docker_config(ambient).prune_words(arguments.many("filter"))
    filters = parse_filters(given, KEYS)
    dangling = filters.flag("dangling", not arguments.flag("all"))
    fits = fitting(filters, ambient.now_s)
    if not arguments.flag("force") and not confirmed(WARNINGS[not dangling]):
        return 0
    with freeing_store(invocation) as store:
        pruned = prune_images(store, fits, dangling_only=bool(dangling))
    write_out(pruned_text(pruned) + f"Total reclaimed space: {size4(pruned.removal.freed_bytes)}\n")
    if pruned.kept_tagged and filters.of("label!"):
        say(f"note: {pruned.kept_tagged} more images have none of these labels, but a name; `--all` removes those, too")
    return 0


def fitting(filters: Filters, now_s: float) -> Fits:
    """Return the test of filters for one image. Raises UsageError."""
    before_s = filters.before_s(now_s)

    def fits(image: Listed, arrived_s: float) -> bool:
        if not filters.labels_fit(dict(image.labels)):
            return False
        return before_s is None or max(arrived_s, seconds_of(image.created) or 0.0) < before_s

    return fits


def pruned_text(pruned: PrunedImages) -> str:
    """Return docker's lines about images, "" for none."""
    lines = [
        f"{word}: {what}\n"
        for image in pruned.removal.images
        for word, names in (("untagged", image.untagged), ("deleted", image.deleted))
        for what in names
    ]
    return f"Deleted Images:\n{''.join(lines)}\n" if lines else ""

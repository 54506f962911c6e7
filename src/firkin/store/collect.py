"""Keeps the store within the rules of config.toml (`[gc]`), at the end of a build. Does I/O.

The docstring of store/gc.py says what is in the store and why it stays. This module decides when to prune.

* A rule of space (`max_used_bytes`) is broken when unreferenced layers and blobs take more space.
* A rule of age (`keep_age_s`) is broken when an unreferenced layer or blob was not used for that long.
* With both rules, a prune removes what breaks both: items that are old enough, oldest first, until the others fit.

Images without a name are removed like what no image needs: by their last use, and only if a rule is broken. Each build
of a name leaves one behind.

Ages are counted back from the time when the build began, so what the build used is never removed. A few queries find
out whether a rule is broken; each tree is walked once in its life, for its size. Only a broken rule starts a prune.
A failure is a warning, because the build has succeeded.
"""

from __future__ import annotations

import time

from firkin.errors import FirkinError
from firkin.events import Emit, Finished, Planned, Started, Vertex, Warned
from firkin.hints import Hint
from firkin.store.gc import GRACE_S, candidates, prune
from firkin.store.references import held, held_since
from firkin.store.rules import GcRules
from firkin.store.store import Store
from firkin.store.usage import measure_trees, recorded_use

_VERTEX = "gc"


def collect(store: Store, rules: GcRules, began_s: float, emit: Emit) -> None:
    """Remove what the rules do not keep; a failure is a warning, because the build has succeeded.

    `began_s` is when the build began: what was used since then is kept, whatever the rules. Cache mounts and
    downloads do not count as used space; they are removed by age alone.
    """
    started = False
    try:
        if not is_needed(store, rules, began_s):
            return
        emit(Planned(time.time(), (Vertex(_VERTEX, "removing from the store what the rules of [gc] do not keep"),)))
        emit(Started(time.time(), _VERTEX))
        started = True
        store.images.drop_unnamed(_limit(store, rules, began_s))
        pruned = prune(
            store,
            now=began_s,
            older_than_s=rules.keep_age_s,
            keep_bytes=rules.max_used_bytes,
            unnamed_images=False,
            only_counted=not rules.keep_age_s,
        )
        emit(Finished(time.time(), _VERTEX, "done", f"{len(pruned.freed)} items, {pruned.size_bytes} bytes"))
    except (FirkinError, OSError) as error:
        if started:
            emit(Finished(time.time(), _VERTEX, "failed", str(error)))
        message = f"the store could not be kept within the rules of [gc]: {error}"
        emit(Warned(time.time(), "gc", message, hints=(Hint.of("prune"),)))


def is_needed(store: Store, rules: GcRules, began_s: float) -> bool:
    """Say whether something removable breaks a rule; walks only trees that were never measured."""
    store.layout.ensure_directories()
    measure_trees(store)
    if rules.max_used_bytes and sum(use.size_bytes for use in recorded_use(store)) <= rules.max_used_bytes:
        return False  # all layers and blobs fit, so the unreferenced ones fit as well
    limit = _limit(store, rules, began_s)
    found = candidates(store, held(store, store.images.drop_unnamed(limit, dry=True)))
    if rules.max_used_bytes and sum(item.with_bytes for item in found) <= rules.max_used_bytes:
        return False
    return any(item.last_used < limit for item in found)


def _limit(store: Store, rules: GcRules, began_s: float) -> float:
    """Return the time since when everything that was used stays, images that have lost their names included."""
    return min(began_s - rules.keep_age_s, held_since(store, began_s) - GRACE_S)

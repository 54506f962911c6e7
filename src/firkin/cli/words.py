"""The lines that `docker pull` and `docker push` print for an image, where no terminal draws progress. Does I/O.

Mirrors: moby distribution/pull_v2.go, push_v2.go; docker/cli cli/command/image/pull.go, push.go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from firkin.cli.run import write_out
from firkin.oci.descriptor import Descriptor

_SHOWN = 12


class Verbs(NamedTuple):
    """What is said of a layer: when it begins to move, was moved, was there already."""

    begins: str
    moved: str
    exists: str


PULL = Verbs("Pulling fs layer", "Pull complete", "Already exists")
PUSH = Verbs("Preparing", "Pushed", "Layer already exists")


class LayerLines:
    """A listener that prints a line when a layer's state changes. `names` are the layers shown, by blob."""

    def __init__(self, verbs: Verbs, names: Mapping[str, str], write: Callable[[str], None] = write_out) -> None:
        self._verbs = verbs
        self._write = write
        self._begun = False
        self._names = {digest: short(name) for digest, name in names.items()}
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Print that every layer begins, before any does."""
        self._begun = True
        for digest in self._names:
            self._say(digest, self._verbs.begins)

    def meter(self, digest: str, size_bytes: int) -> Callable[[int], None]:
        """Print that a layer begins to move, nothing more."""
        if not self._begun:
            self._say(digest, self._verbs.begins)
        return lambda current: None

    def kept(self, blob: Descriptor, outcome: str) -> None:
        """Print what became of a layer."""
        known = {"exists": self._verbs.exists, "moved": self._verbs.moved}
        self._say(blob.digest, known.get(outcome) or outcome.capitalize())

    def _say(self, digest: str, words: str) -> None:
        if digest in self._names:
            with self._lock:
                self._write(f"{self._names[digest]}: {words}\n")


def short(digest: str) -> str:
    """Return the first twelve hex digits of a digest."""
    return digest.partition(":")[2][:_SHOWN]

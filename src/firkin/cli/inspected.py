"""Finds what `inspect` is asked for: a container, else an image, else a volume. Does I/O. `cli.commands` only.

Mirrors: docker/cli cli/command/inspect, inspectAll.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.shapes import CONTAINER, IMAGE
from firkin.errors import FirkinError, UsageError
from firkin.hints import Hint
from firkin.oci.platform import Platform
from firkin.store.store import Store

KINDS = ("container", "image", "volume")
_UNKNOWN = ("config", "network", "node", "plugin", "secret", "service", "task")
"""Types of docker's that no object has here."""
_ABSENT = ("no-image", "no-container", "no-volume", "reference-format")


class Objects:
    """Finds objects of one invocation; the store is opened for the first image. A context manager."""

    def __init__(self, invocation: Invocation, platform: Platform | None, *, size: bool) -> None:
        self._invocation = invocation
        self._engine = open_engine(invocation)
        self._platform = platform
        self._size = size
        self._store: Store | None = None
        self._stack = ExitStack()
        self._kinds: dict[int, str] = {}

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def store(self) -> Store:
        """The store of images."""
        if self._store is None:
            from firkin.cli.store import open_store

            self._store = self._stack.enter_context(open_store(self._invocation)[0])
        return self._store

    def find(self, text: str, kind: str) -> dict[str, Any]:
        """Return the document of an object, of any kind for "". Raises ContainerError, UsageError, StoreError."""
        if kind:
            return self._noted(kind, _FINDERS[kind](self, text))
        for each in KINDS:
            try:
                return self._noted(each, _FINDERS[each](self, text))
            except FirkinError as error:
                if error.code not in _ABSENT:
                    raise
        raise UsageError(f"No such object: {text}", code="no-object", hints=self._meant(text))

    def shape(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a template finds where a document has nothing."""
        return _SHAPES.get(self._kinds.get(id(document), ""), {})

    def container(self, text: str) -> dict[str, Any]:
        from firkin.containers.inspect import inspect_container

        return inspect_container(self._engine, self._engine.home.find(text), size=self._size)

    def image(self, text: str) -> dict[str, Any]:
        from firkin.cli.store import find_image
        from firkin.images.inspect import inspect_image

        return inspect_image(self.store, find_image(self.store, text, self._platform))

    def volume(self, text: str) -> dict[str, Any]:
        from firkin.containers.volume_list import describe
        from firkin.containers.volumes.shelf import Volumes

        shelf = Volumes(self._engine)
        return describe(shelf, shelf.find(text))

    def _noted(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        self._kinds[id(document)] = kind
        return document

    def _meant(self, text: str) -> tuple[str | Hint, ...]:
        from firkin.images.find import nearest_name

        meant = nearest_name(self.store, text)
        return (f"did you mean `{meant}`?",) if meant else (Hint.of("objects"),)


_SHAPES: Mapping[str, Mapping[str, Any]] = {"container": CONTAINER, "image": IMAGE}
_FINDERS: Mapping[str, Callable[[Objects, str], dict[str, Any]]] = {
    "container": Objects.container, "image": Objects.image, "volume": Objects.volume,
}  # fmt: skip


def read_kind(text: str) -> str:
    """Return the type that `--type` names. Raises UsageError."""
    if text and text not in KINDS:
        known = ", ".join(f'"{kind}"' for kind in sorted((*KINDS, *_UNKNOWN)))
        if text in _UNKNOWN:
            raise UsageError(f"firkin has no objects of type {text}", hints=(f"it has {', '.join(KINDS)}",))
        raise UsageError(f'unknown type: "{text}": must be one of {known}', hints=(f"firkin has {', '.join(KINDS)}",))
    return text

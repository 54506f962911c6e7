"""The contexts of one build: the main one with its Dockerfile, and the named ones. Does I/O."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from firkin.context.directory import DirectoryContext, open_directory, read_ignore_file, read_texts
from firkin.errors import ContextError
from firkin.events import Emit
from firkin.graph.ops import Git, Http
from firkin.layer.change import View
from firkin.oci.platform import Platform
from firkin.request import BuildRequest
from firkin.solve.cancel import Cancel
from firkin.solve.copy_plan import Matcher
from firkin.solve.fetch import LayoutReader
from firkin.solve.resolve import Resolved
from firkin.source import Source
from firkin.store.store import Store


class ContextMatcher(Matcher, Protocol):
    """What an ignore file becomes; see dockerfile/ignore.py."""

    def __bool__(self) -> bool: ...


ReadIgnore = Callable[[bytes, str], ContextMatcher]


class ViewFiles:
    """Files that are a View already."""

    def __init__(self, view: View) -> None:
        self._view = view

    def view(self) -> View:
        return self._view


class Contexts:
    """Opens what the request names. Use as a context manager."""

    def __init__(self, request: BuildRequest, store: Store, emit: Emit, clock: Callable[[], float], read_ignore: ReadIgnore) -> None:
        self._request = request
        self._store = store
        self._emit = emit
        self._clock = clock
        self._read_ignore = read_ignore
        self.files: dict[str, ViewFiles] = {}
        self.layouts: dict[str, LayoutReader] = {}

    def __enter__(self) -> Contexts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.files.clear()

    def read_dockerfile(self) -> Source:
        """Open the main context and return its Dockerfile. Raises ContextError."""
        request = self._request
        root = os.path.normpath(os.path.join(request.cwd, request.context, request.context_sub_path))
        if not os.path.isdir(root):
            what = "is not a directory" if os.path.lexists(root) else "does not exist"
            raise ContextError(f"the build context {root} {what}", code="context-missing")
        if request.dockerfile_text is not None:
            name, text = "Dockerfile", request.dockerfile_text
            ignore_name, ignore = read_ignore_file(root)
        else:
            place = os.path.join(request.cwd, request.dockerfile) if request.dockerfile else f"{root}/Dockerfile"
            texts = read_texts(root, place)
            name = os.path.relpath(texts.name, request.cwd) if texts.name.startswith(request.cwd) else texts.name
            text = texts.dockerfile.decode("utf-8", "surrogateescape")
            ignore_name, ignore = texts.ignore_name, texts.ignore
        matcher = self._read_ignore(ignore, ignore_name) if ignore is not None else None
        self.files[""] = ViewFiles(DirectoryContext(root, matcher, ignore_name))
        return Source(name, text)

    def image(self, name: str, platform: Platform) -> Resolved | str | None:
        """Return the image, or the name of one, that a named context stands for; None for files."""
        value = dict(self._request.build_contexts)[name]
        scheme, separator, rest = value.partition("://")
        if separator and scheme == "docker-image":
            return rest
        if name not in self.files:
            root = os.path.normpath(os.path.join(self._request.cwd, value))
            self.files[name] = ViewFiles(open_directory(root, self._read_ignore))
        return None

    def fetch(self, op: Http | Git, vertex: str, cancel: Cancel) -> ViewFiles:
        """Download what an ADD names."""
        raise ContextError(f"cannot fetch {op.url}", code="fetch")

"""Resolves base images and named contexts for the lowering of one build. Does I/O.

`build` and `check` import it.
"""

from __future__ import annotations

import time

from firkin.builder.dockerfile.state import BaseImage, NamedContext
from firkin.builder.solve.session import BuildSession
from firkin.content.resolve import Resolved
from firkin.errors import FirkinError
from firkin.events import Warned
from firkin.oci.config import field_with_nul
from firkin.oci.platform import Platform
from firkin.source import Span


class Bases:
    """Gives lowering the base images and named contexts of a Dockerfile (a `Resolver` of the front end)."""

    def __init__(self, session: BuildSession) -> None:
        self._session = session

    def prefetch(self, images: tuple[tuple[str, Platform], ...]) -> None:
        """Resolve several names at the same time; an error is raised when lowering asks for the name."""
        for name, platform in images[1:] and images:
            self._session.pools.transfers.submit(lambda n=name, p=platform: self._session.resolver.resolve(n, p))  # type: ignore[misc]

    def image(self, name: str, platform: Platform, span: Span | None) -> BaseImage:
        """Resolve a name; an error gets the span of the instruction that names it."""
        try:
            found = self._session.resolver.resolve(name, platform)
        except FirkinError as error:
            error.span = error.span or span
            raise
        config = found.image.config
        if b"\\u0000" in config.raw and (field := field_with_nul(config.runtime)):
            text = f"the configuration of {found.name} has a NUL character in {field}, which no command can be given"
            self._session.emit(Warned(time.time(), "base-nul", text, span))
        return _base_image(found)

    def context(self, name: str, platform: Platform, span: Span | None) -> NamedContext:
        """Return a named context."""
        image = self._session.contexts.image(name, platform)
        if image is None:
            return NamedContext()
        if isinstance(image, str):
            return NamedContext(self.image(image, platform, span))
        return NamedContext(_base_image(image))


def _base_image(found: Resolved) -> BaseImage:
    image = found.image
    return BaseImage(found.name, found.digest, found.origin, image.config.platform, image.config, image.layers)

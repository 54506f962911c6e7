"""firkin: container images from Dockerfiles, without a daemon and without privileges.

Public names load on first use, so that `import firkin` costs next to nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as type checkers know it; `typing` itself costs 7 ms of the start
if TYPE_CHECKING:
    from firkin import errors as errors
    from firkin import events as events
    from firkin import request as request
    from firkin.aio import build_async as build_async
    from firkin.api import build as build
    from firkin.errors import FirkinError as FirkinError
    from firkin.library import StoredImage as StoredImage
    from firkin.library import list_images as list_images
    from firkin.library import pull as pull
    from firkin.library import push as push
    from firkin.library import tag as tag
    from firkin.request import BuildRequest as BuildRequest
    from firkin.request import BuildResult as BuildResult
    from firkin.request import Output as Output

__version__ = "0.1.0"
__all__ = [
    "BuildRequest", "BuildResult", "FirkinError", "Output", "StoredImage", "__version__", "build", "build_async",
    "list_images", "pull", "push", "tag",
]  # fmt: skip

_HOME = {
    "build": "firkin.api",
    "build_async": "firkin.aio",
    "FirkinError": "firkin.errors",
    "StoredImage": "firkin.library",
    "list_images": "firkin.library",
    "pull": "firkin.library",
    "push": "firkin.library",
    "tag": "firkin.library",
    "BuildRequest": "firkin.request",
    "BuildResult": "firkin.request",
    "Output": "firkin.request",
}


_MODULES = ("errors", "events", "request")


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None and name not in _MODULES:
        raise AttributeError(f"module 'firkin' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name) if module else import_module(f"firkin.{name}")


def __dir__() -> list[str]:
    return [*__all__, *_MODULES]


class _Package(type(sys)):  # type: ignore[misc]
    """The package itself: `firkin.build` is the function, also after the import system has named the module so."""

    @property
    def build(self) -> object:
        return __getattr__("build")

    @build.setter
    def build(self, module: object) -> None:
        pass


sys.modules[__name__].__class__ = _Package

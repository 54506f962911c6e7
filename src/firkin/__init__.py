"""firkin: container images from Dockerfiles, without a daemon and without privileges. Does I/O.

Public names load on first use, so that `import firkin` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; `typing` itself costs 7 ms of the start
if TYPE_CHECKING:
    from firkin import api as api
    from firkin import errors as errors
    from firkin import events as events
    from firkin import request as request
    from firkin.api.aio import build_async as build_async
    from firkin.api.builds import build as build
    from firkin.api.client import Client as Client
    from firkin.api.client import connect as connect
    from firkin.api.images import StoredImage as StoredImage
    from firkin.api.images import list_images as list_images
    from firkin.api.images import pull as pull
    from firkin.api.images import push as push
    from firkin.api.images import tag as tag
    from firkin.builder.request import BuildRequest as BuildRequest
    from firkin.builder.request import BuildResult as BuildResult
    from firkin.builder.request import Output as Output
    from firkin.errors import CommandFailed as CommandFailed
    from firkin.errors import ContainerError as ContainerError
    from firkin.errors import FirkinError as FirkinError
    from firkin.errors import ImageNotFound as ImageNotFound
    from firkin.errors import NotFound as NotFound

__version__ = "0.1.0"
__all__ = [
    "BuildRequest", "BuildResult", "Client", "CommandFailed", "ContainerError", "FirkinError", "ImageNotFound",
    "NotFound", "Output", "StoredImage", "__version__", "build", "build_async", "connect", "list_images", "pull",
    "push", "tag",
]  # fmt: skip

_HOME = {
    "build": "firkin.api.builds",
    "build_async": "firkin.api.aio",
    "Client": "firkin.api.client",
    "connect": "firkin.api.client",
    "CommandFailed": "firkin.errors",
    "ContainerError": "firkin.errors",
    "FirkinError": "firkin.errors",
    "ImageNotFound": "firkin.errors",
    "NotFound": "firkin.errors",
    "StoredImage": "firkin.api.images",
    "list_images": "firkin.api.images",
    "pull": "firkin.api.images",
    "push": "firkin.api.images",
    "tag": "firkin.api.images",
    "BuildRequest": "firkin.builder.request",
    "BuildResult": "firkin.builder.request",
    "Output": "firkin.builder.request",
}


_MODULES = ("api", "errors", "events", "request")


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None and name not in _MODULES:
        raise AttributeError(f"module 'firkin' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name) if module else import_module(f"firkin.{name}")


def __dir__() -> list[str]:
    return [*__all__, *_MODULES]

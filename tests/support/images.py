"""The programs of images/, which are no package: what makes the executor image, for tests of its parts."""

import importlib.util
import sys
from types import ModuleType

from support.places import REPOSITORY


def load(path: str) -> ModuleType:
    """Return images/`path` as a module; what lies beside it can be imported by it."""
    place = REPOSITORY / "images" / path
    spec = importlib.util.spec_from_file_location(f"images_{place.stem}", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names in their annotations
    sys.path.insert(0, str(place.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(place.parent))
    return module

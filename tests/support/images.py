"""Loads the programs of images/, which is no package: they make the executor image, and tests check their parts."""

import importlib.util
import sys
from types import ModuleType

from support.places import REPOSITORY


def load(path: str) -> ModuleType:
    """Return images/`path` as a module, which can import its neighbours."""
    place = REPOSITORY / "images" / path
    spec = importlib.util.spec_from_file_location(f"images_{place.stem}", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up the names in their annotations there
    sys.path.insert(0, str(place.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(place.parent))
    return module

"""The Python API. Does I/O."""

from firkin.api.builds import build, run

__all__ = ["build", "run"]

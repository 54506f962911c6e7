"""How the root of a step comes to be, and what it turned into: one Protocol, three ways to keep it. Does I/O.

Modules from `rootfs` upwards may import it. `overlay` merges layer trees by a mount · `directory`
copies them · `inplace` unpacks them over `/`. Nothing here knows how commands are run (`sandbox` does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from firkin.linux.mounts import Overlay


class Root(Protocol):
    """The writable root of one step."""

    @property
    def mount(self) -> Overlay | str:
        """A recipe that the sandbox mounts, or a directory to use as it is."""
        ...

    @property
    def scratch(self) -> str:
        """An empty directory for the sandbox, on the file system of the root."""
        ...

    def seal(self, tree: str, covered: tuple[str, ...] = ()) -> None:
        """Make what the step wrote the diff directory `tree`, an empty directory beside the scratch space.

        `covered` are paths of the image that the sandbox put something else over for a while. The
        root cannot be used afterwards. Raises StoreError.
        """
        ...


class Rootfs(Protocol):
    """Makes roots out of layer trees (overlay diff directories)."""

    def open(self, lowers: tuple[str, ...], scratch: str) -> AbstractContextManager[Root]:
        """Return the root made of `lowers`, from the top down, none for an empty one.

        `scratch` is a new directory of the caller's, in the store; whatever was not sealed goes when
        the context ends. Raises StoreError, HostError.
        """
        ...

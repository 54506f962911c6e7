"""Makes the root of a step and captures what the step changed: one Protocol, three implementations. Does I/O.

Modules from `rootfs` upwards may import it. `overlay` merges layer trees by a mount · `directory`
copies them · `inplace` unpacks them over `/`. No module here knows how commands are run (`sandbox` does).
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
        """An overlay for the sandbox to mount, or a directory that is the root already."""
        ...

    @property
    def scratch(self) -> str:
        """An empty directory for the sandbox, on the file system of the root."""
        ...

    def seal(self, tree: str, covered: tuple[str, ...] = ()) -> None:
        """Turn the step's changes into the diff directory `tree`, an empty directory beside the scratch space.

        `covered` are paths of the image that the sandbox covered with other files while the command ran. The
        root cannot be used afterwards. Raises StoreError.
        """
        ...


class Rootfs(Protocol):
    """Makes roots out of layer trees (overlay diff directories)."""

    def open(self, lowers: tuple[str, ...], scratch: str) -> AbstractContextManager[Root]:
        """Return the root made of `lowers`, from the top down; without lowers it is empty.

        The caller makes the directory `scratch` in the store. What was not sealed is removed when
        the context ends. Raises StoreError, HostError.
        """
        ...

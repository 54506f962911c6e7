"""Where commands run: one Protocol, three sandboxes that keep it. Does I/O.

`operations` is what a plan is, `mounted_plan` and `emulated_plan` prepare one, `init` is the program that performs it,
`spawn` starts that, `run` waits for it. `namespaces`, `chroot` and `bare` are the sandboxes. Nothing here knows how a
root came to be (`rootfs` does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.linux.mounts import Overlay
    from firkin.oci.run import RunSpec
    from firkin.sandbox.result import RunResult


class Sandbox(Protocol):
    """Runs commands with a directory tree for their root."""

    def run(
        self,
        spec: RunSpec,
        root: Overlay | str,
        *,
        scratch: str,
        on_output: Callable[[bytes], None],
        on_error: Callable[[bytes], None] | None = None,
        cancel_fd: int | None = None,
    ) -> RunResult:
        """Run one command to its end and return how it ended; blocks the calling thread.

        `root` is a recipe that the sandbox mounts (namespaces only) or a directory. `scratch` is an
        empty directory on the file system of the store, which the caller removes afterwards.
        `on_output` gets standard output and error in the order of writing, as soon as they come. With
        `on_error` it gets standard output only, and the order between the two is a guess.
        When `cancel_fd` becomes readable, the command and all it started are killed.
        Raises HostError when the surroundings could not be made.
        """
        ...

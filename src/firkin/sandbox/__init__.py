"""Where commands run: one Protocol, and three sandboxes that implement it. Does I/O.

`operations` defines a plan, `mounted_plan` and `emulated_plan` prepare one, the program `init` performs it, `spawn`
starts the program, `run` waits for it. `namespaces`, `chroot` and `bare` are the sandboxes. Nothing here knows how a
root was made (`rootfs` does).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from firkin.linux.mounts import Overlay
    from firkin.oci.run import RunSpec
    from firkin.sandbox.result import RunResult
else:
    Protocol = object


class Sandbox(Protocol):
    """Runs commands with a directory tree as their root."""

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
        `on_error` it gets standard output only, and the order between the two streams is not exact.
        When `cancel_fd` becomes readable, the command and everything it started are killed.
        Raises HostError when the command's surroundings could not be made.
        """

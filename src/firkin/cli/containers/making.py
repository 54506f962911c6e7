"""What `run` and `create` have in common: from the words of a command line to a container. Does I/O. `cli` only.

Mirrors: docker/cli cli/command/container/create.go.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from firkin.ambient import absolute
from firkin.cli.command import Invocation
from firkin.cli.containers.requests import request_of
from firkin.cli.docker_config import DockerConfig, read_docker_config
from firkin.cli.run import write_message
from firkin.containers.create import create
from firkin.containers.keeping.image import image_for
from firkin.errors import ContainerError, FirkinError, UsageError
from firkin.linux.machine import this_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from firkin.containers.documents.config import CreateRequest
    from firkin.containers.home.engine import Engine
    from firkin.oci.image import Image
    from firkin.tasks.cancel import Cancel
else:
    import _signal as signal  # `signal` itself takes 3 ms to load

ENGINE_FAILED = 125
"""docker's code for a container that could not be made."""
_VICE_VERSA = "a directory onto a file (or vice-versa)"
"""Such a container has the exit code 127, and `docker run` its own."""


class Wish:
    """A container as the command line asks for it, with what only a front has to know."""

    def __init__(self, invocation: Invocation, name: str) -> None:
        arguments, ambient = invocation.arguments, invocation.ambient
        if not arguments.operands:
            raise UsageError(f"`firkin {name}` requires at least 1 argument: the image")
        self.invocation = invocation
        self.docker: DockerConfig = read_docker_config(ambient)
        self.request: CreateRequest = request_of(
            arguments, ambient, image=arguments.operands[0], command=arguments.operands[1:], proxies=self.docker.proxies
        )
        self.pull = arguments.text("pull", "missing")


def make(wish: Wish, engine: Engine, request: CreateRequest) -> str:
    """Pull the image if that is asked for, make the container, and return its id; warnings are printed.

    `request` is the wish's, as it was completed. Raises FirkinError.
    """
    _warn(request)
    with _id_file(wish) as write_id:
        created = create(engine, request, _image(wish, engine, request))
        for warning in created.warnings:
            write_message(f"WARNING: {warning}\n")
        write_id(created.id)
    return created.id


@contextmanager
def engine_errors() -> Iterator[None]:
    """Give errors of a block docker's exit code for what the engine refuses, unless they have one of a command."""
    try:
        yield
    except FirkinError as error:
        told = error.exit_code in (126, 127) and _VICE_VERSA not in error.message
        if not told and error.exit_code < 128:
            error.exit_code = ENGINE_FAILED
        raise


def _image(wish: Wish, engine: Engine, request: CreateRequest) -> Image:
    name, platform = request.config.image, request.platform
    if wish.pull == "always":
        _pull(wish, engine, request)
    try:
        return image_for(engine, name, platform)
    except ContainerError as error:
        if error.kind != "missing" or wish.pull != "missing":
            raise
    if not wish.invocation.arguments.flag("quiet"):
        from firkin.images.names import read_reference

        write_message(f"Unable to find image '{read_reference(name).familiar}' locally\n")
    _pull(wish, engine, request)
    return image_for(engine, name, platform)


def _pull(wish: Wish, engine: Engine, request: CreateRequest) -> None:
    """Pull the image; what docker says of it goes to standard error."""
    from firkin.cli.moving import Screen, progress_name
    from firkin.cli.pulling import Pull
    from firkin.cli.requests import settings_of
    from firkin.cli.store import open_client, with_interrupts
    from firkin.images.names import read_reference
    from firkin.images.progress import Transfer
    from firkin.oci.platform import parse_platform

    arguments, ambient = wish.invocation
    settings = settings_of(arguments, ambient)
    quiet = arguments.flag("quiet")
    screen = Screen(
        progress_name(arguments, settings, ambient.environ), "Pulling", (lambda text: None) if quiet else write_message
    )
    platform = parse_platform(request.platform, this_platform()) if request.platform else this_platform()
    name = read_reference(request.config.image)

    def work(cancel: Cancel) -> int:
        with engine.store() as store, open_client(settings, cancel, screen.warn) as client:
            transfer = Transfer(store, client, cancel, settings.registry.parallel, screen.wait)
            Pull(transfer, screen, platform, names=False).one(name)
        return 0

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with_interrupts(work)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _warn(request: CreateRequest) -> None:
    host = request.host_config
    if host.oom_kill_disable and not host.memory:
        write_message(
            "WARNING: Disabling the OOM killer on containers without setting a '-m/--memory' limit may be dangerous.\n"
        )
    for server in host.dns:
        if server.startswith("127.") or server == "::1":
            write_message(f"WARNING: Localhost DNS setting (--dns={server}) may fail in containers.\n")
            return


class _IdFile:
    """The file of `--cidfile`: made before the container, removed when there is none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written = False
        try:
            self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            raise UsageError(
                f"container ID file found, make sure the other container isn't running or delete {path}"
            ) from None
        except OSError as error:
            why = (error.strerror or "").lower()
            raise UsageError(f"failed to create the container ID file: open {path}: {why}") from error

    def write(self, id: str) -> None:
        os.write(self._descriptor, id.encode())
        self._written = True

    def close(self) -> None:
        os.close(self._descriptor)
        if not self._written:
            os.unlink(self._path)


@contextmanager
def _id_file(wish: Wish) -> Iterator[Callable[[str], None]]:
    path = wish.request.host_config.container_id_file
    if not path:
        yield lambda id: None
        return
    file = _IdFile(absolute(wish.invocation.ambient.cwd, path))
    try:
        yield file.write
    finally:
        file.close()

"""One container, as `client.containers` hands it out: docker-py's names, over the engine's operations. Does I/O.

Mirrors: docker/docker-py docker/models/containers.py (Container). It is a context manager as well: leaving the block
removes it by force, with the volumes that it made for itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from firkin.api import keywords
from firkin.api.client_arguments import named, pieces_of
from firkin.api.container_arguments import (
    Time,
    UpdateOptions,
    Words,
    time_ns,
    update_fields,
    variables,
    words,
)
from firkin.api.hints import found_or_missing
from firkin.errors import NotFound, UsageError

if TYPE_CHECKING:
    from typing import Unpack

    from firkin.api.client_images import Image, ImageCollection
    from firkin.containers.documents.record import Record
    from firkin.containers.home.engine import Engine
    from firkin.containers.link.attach import Attached

_CHUNK = 2 << 20
_SHORT = 12
_SAMPLE_S = 1.0
_STDOUT, _STDERR = 1, 2


class ExecResult(NamedTuple):
    """What `exec_run` returns: `exit_code` is None and `output` an iterator for one that is streamed."""

    exit_code: int | None
    output: Any


class Container:
    """A container. Two are equal if their ids are. `attrs` is what `docker inspect` prints; `reload` reads it again."""

    def __init__(self, engine: Engine, images: ImageCollection, attrs: dict[str, Any]) -> None:
        self._engine = engine
        self._images = images
        self.attrs = attrs

    def __repr__(self) -> str:
        return f"<Container: {self.short_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(NotFound):
            self.remove(v=True, force=True)

    @property
    def id(self) -> str:
        """The 64 digits of the id."""
        return str(self.attrs["Id"])

    @property
    def short_id(self) -> str:
        """The first 12 digits of the id."""
        return self.id[:_SHORT]

    @property
    def name(self) -> str:
        """The name, without the slash that `attrs` has."""
        return str(self.attrs["Name"]).removeprefix("/")

    @property
    def labels(self) -> dict[str, str]:
        """The labels, those of the image among them."""
        return dict(self.attrs["Config"].get("Labels") or {})

    @property
    def status(self) -> str:
        """`created`, `running`, `paused`, `restarting`, `exited`, `removing` or `dead`, when `attrs` was read."""
        return str(self.attrs["State"]["Status"])

    @property
    def health(self) -> str:
        """`starting`, `healthy` or `unhealthy`; `unknown` without a health check."""
        return str((self.attrs["State"].get("Health") or {}).get("Status", "unknown"))

    @property
    def ports(self) -> dict[str, Any]:
        """The published ports."""
        return dict(self.attrs.get("NetworkSettings", {}).get("Ports") or {})

    @property
    def image(self) -> Image:
        """The image that it was made of. Raises ImageNotFound."""
        return self._images.get(str(self.attrs["Image"]))

    @found_or_missing
    def reload(self) -> None:
        """Read `attrs` again. Raises NotFound."""
        self.attrs = inspect(self._engine, self._record())

    # Life

    @found_or_missing
    def start(self) -> None:
        """Start it; nothing happens if it runs. Raises ContainerError."""
        from firkin.containers.start import start

        start(self._engine, self.id)

    @found_or_missing
    def stop(self, *, timeout: int | None = None) -> None:
        """Stop it and wait for that; after `timeout` seconds it is killed. Raises ContainerError."""
        from firkin.containers.stop import stop

        stop(self._engine, self.id, timeout=timeout)

    @found_or_missing
    def kill(self, signal: str | int | None = None) -> None:
        """Send it a signal, by default KILL. Raises ContainerError if it does not run."""
        from firkin.containers.stop import kill

        kill(self._engine, self.id, signal="KILL" if signal is None else str(signal))

    @found_or_missing
    def restart(self, *, timeout: int | None = None) -> None:
        """Stop it, if it runs, and start it. Raises ContainerError."""
        from firkin.containers.stop import restart

        restart(self._engine, self.id, timeout=timeout)

    @found_or_missing
    def pause(self) -> None:
        """Let all its processes stand still. Raises ContainerError."""
        from firkin.containers.pause import pause

        pause(self._engine, self.id)

    @found_or_missing
    def unpause(self) -> None:
        """Let them go on. Raises ContainerError."""
        from firkin.containers.pause import unpause

        unpause(self._engine, self.id)

    @found_or_missing
    def wait(
        self, *, condition: Literal["not-running", "next-exit", "removed"] = "not-running"
    ) -> dict[str, Any]:
        """Wait until it ends; return `{"StatusCode": …, "Error": None or {"Message": …}}`. Raises ContainerError."""
        from firkin.containers.wait import wait

        ended = wait(self._engine, self.id, condition)
        return {"StatusCode": ended.status, "Error": {"Message": ended.error} if ended.error else None}

    @found_or_missing
    def remove(self, *, v: bool = False, link: bool = False, force: bool = False) -> None:
        """Remove it; `v`: the volumes that it made for itself, too; `force`: also if it runs. Raises ContainerError."""
        from firkin.containers.remove import remove

        if link:
            raise UsageError("`link` cannot be removed: containers have no links", code="argument-value")
        remove(self._engine, self.id, force=force, volumes=v)

    @found_or_missing
    def rename(self, name: str) -> None:
        """Give it another name. Raises ContainerError."""
        from firkin.containers.rename import rename

        rename(self._engine, self.id, keywords.text("name", name))

    @found_or_missing
    def update(self, **changes: Unpack[UpdateOptions]) -> dict[str, Any]:
        """Give it other limits or another restart policy; return `{"Warnings": […]}`. Raises ContainerError."""
        from firkin.containers.update import update

        return {"Warnings": list(update(self._engine, self.id, update_fields(changes)))}

    # Output and commands

    @overload
    def logs(
        self, *, stdout: bool = ..., stderr: bool = ..., stream: Literal[False] = ..., timestamps: bool = ...,
        tail: int | str = ..., since: Time | None = ..., until: Time | None = ..., follow: bool | None = ...,
    ) -> bytes: ...  # fmt: skip

    @overload
    def logs(
        self, *, stdout: bool = ..., stderr: bool = ..., stream: Literal[True], timestamps: bool = ...,
        tail: int | str = ..., since: Time | None = ..., until: Time | None = ..., follow: bool | None = ...,
    ) -> Iterator[bytes]: ...  # fmt: skip

    @found_or_missing
    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        stream: bool = False,
        timestamps: bool = False,
        tail: int | str = "all",
        since: Time | None = None,
        until: Time | None = None,
        follow: bool | None = None,
    ) -> bytes | Iterator[bytes]:
        """Return what it has written; with `stream` an iterator over lines, which waits for more by default (`follow`).

        Raises ContainerError, before the first line.
        """
        from firkin.containers.logs import LogQuery, line_bytes, read_logs

        query = LogQuery(
            stdout=stdout,
            stderr=stderr,
            since_ns=None if since is None else time_ns("since", since),
            until_ns=None if until is None else time_ns("until", until),
            tail=tail if isinstance(tail, int) else None,
            follow=stream if follow is None else follow,
        )
        entries = read_logs(self._engine, self._record(), query)
        lines = (line_bytes(entry, timestamps=timestamps) for some in entries for entry in some)
        return lines if stream else b"".join(lines)

    @found_or_missing
    def attach(
        self, *, stdout: bool = True, stderr: bool = True, stream: bool = False, logs: bool = False
    ) -> bytes | Iterator[bytes]:
        """Return what it writes from now on until it ends; with `logs` what it has written before, too."""
        if logs and not self._engine.home.state(self.id).running:
            return self.logs(stdout=stdout, stderr=stderr, stream=True) if stream else self.logs(
                stdout=stdout, stderr=stderr
            )
        from firkin.containers.link.attach import AttachTo, attach
        from firkin.containers.logs import attach_with_log

        attached = (attach_with_log if logs else attach)(self._engine, self.id, AttachTo(stdout=stdout, stderr=stderr))
        pieces = output_of(attached)
        return (data for _, data in pieces) if stream else b"".join(data for _, data in pieces)

    @found_or_missing
    def exec_run(
        self,
        cmd: Words,
        *,
        stdout: bool = True,
        stderr: bool = True,
        tty: bool = False,
        privileged: bool = False,
        user: str | int = "",
        detach: bool = False,
        stream: bool = False,
        environment: Mapping[str, str] | Sequence[str] | None = None,
        workdir: str | None = None,
        demux: bool = False,
    ) -> ExecResult:
        """Run a command in it, and return exit code and output.

        `demux`: the output is a pair of what went to stdout and to stderr. `stream`: the output is an iterator, and the
        exit code is not known. `detach`: nothing is waited for. Raises ContainerError, also for a command that is not
        there.
        """
        from firkin.containers.exec import ExecRequest, run_detached, run_exec

        request = ExecRequest(
            argv=words("cmd", cmd),
            env=() if environment is None else variables("environment", environment),
            user=str(user),
            cwd=workdir or "",
            tty=tty,
            privileged=privileged,
            stdout=stdout,
            stderr=stderr,
        )
        if detach:
            run_detached(self._engine, self.id, request)
            return ExecResult(None, b"")
        attached = run_exec(self._engine, self.id, request)
        if stream:
            return ExecResult(None, (_split(piece) if demux else piece[1] for piece in output_of(attached)))
        gathered: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}
        both = []
        for kind, data in output_of(attached):
            gathered[kind].append(data)
            both.append(data)
        code = attached.exit.status if attached.exit is not None else None
        if demux:
            return ExecResult(code, tuple(b"".join(gathered[kind]) or None for kind in (_STDOUT, _STDERR)))
        return ExecResult(code, b"".join(both))

    @found_or_missing
    def resize(self, height: int, width: int) -> None:
        """Change the size of its terminal. Raises ContainerError."""
        from firkin.containers.link.attach import AttachTo, attach

        attached = attach(self._engine, self.id, AttachTo(stdout=False, stderr=False))
        try:
            attached.resize(keywords.integer("height", height), keywords.integer("width", width))
        finally:
            attached.detach()

    @found_or_missing
    def top(self, ps_args: str | None = None) -> dict[str, Any]:
        """Return its processes as `ps` shows them, `{"Titles": […], "Processes": [[…]]}`. Raises ContainerError."""
        from firkin.containers.top import top

        found = top(self._engine, self.id, ps_args or "")
        return {"Titles": found.titles, "Processes": found.rows}

    @found_or_missing
    def stats(self, *, stream: bool = True) -> Any:
        """Return an iterator over samples, one a second, of what it uses; without `stream` one, with its predecessor.

        A sample is a document of the API (ContainerStats). Raises NotFound.
        """
        samples = self._samples()
        next(samples)
        return samples if stream else next(samples)

    def _samples(self) -> Iterator[dict[str, Any]]:
        from firkin.containers.home.times import now_text
        from firkin.containers.resources import read_statistics

        before: dict[str, Any] | None = None
        while True:
            record = self._record()
            state = self._engine.home.state(record.id)
            before = read_statistics(record, state, now_text(), before)
            yield before
            if state.running:
                time.sleep(_SAMPLE_S)

    # Files

    @found_or_missing
    def put_archive(self, path: str, data: object) -> bool:
        """Unpack a tar (bytes, a file, or pieces) into a directory of it; return True. Raises ContainerError."""
        from firkin.containers.archive import put_archive

        put_archive(self._engine, self._record(), keywords.text("path", path), pieces_of(data))
        return True

    @found_or_missing
    def get_archive(self, path: str, chunk_size: int | None = _CHUNK) -> tuple[Iterator[bytes], dict[str, Any]]:
        """Return a tar of a file or directory, in pieces, and its status: name, size, mode, mtime and linkTarget.

        Raises NotFound if there is none.
        """
        from msgspec import to_builtins

        from firkin.containers.archive import get_archive

        stack = ExitStack()
        found, chunks = stack.enter_context(get_archive(self._engine, self._record(), keywords.text("path", path)))
        return _Pieces(stack, chunks, chunk_size), to_builtins(found)

    @found_or_missing
    def export(self, chunk_size: int | None = _CHUNK) -> Iterator[bytes]:
        """Return a tar of all its files, without volumes, in pieces. Raises ContainerError."""
        from firkin.containers.export import export

        stack = ExitStack()
        return _Pieces(stack, stack.enter_context(export(self._engine, self._record())), chunk_size)

    @found_or_missing
    def diff(self) -> list[dict[str, Any]] | None:
        """Return its changes of its image's files: None, or `[{"Path": …, "Kind": 0 changed, 1 added, 2 deleted}]`."""
        from firkin.containers.changes import file_changes

        changes = file_changes(self._engine, self._record())
        return [{"Path": change.path, "Kind": change.kind} for change in changes] or None

    @found_or_missing
    def commit(
        self,
        repository: str | None = None,
        tag: str | None = None,
        *,
        message: str | None = None,
        author: str | None = None,
        pause: bool = True,
        changes: str | Iterable[str] | None = None,
    ) -> Image:
        """Make an image of it, and return that. Raises ContainerError, DockerfileError for wrong `changes`."""
        from firkin.builder.dockerfile.changes import apply_changes
        from firkin.containers.commit import CommitRequest, commit
        from firkin.images.names import read_tag
        from firkin.linux.machine import this_platform

        texts = () if changes is None else keywords.text_or_texts("changes", changes)
        request = CommitRequest(
            name=None if repository is None else read_tag(named("repository", repository, tag)),
            author=author or "",
            message=message or "",
            pause=pause,
            change=(lambda runtime: apply_changes(runtime, texts, this_platform())) if texts else None,
        )
        return self._images.get(commit(self._engine, self._record(), request))

    def _record(self) -> Record:
        return self._engine.home.record(self.id)


def inspect(engine: Engine, record: Record) -> dict[str, Any]:
    """Return the document of a container. Raises ContainerError."""
    from firkin.containers.inspect import inspect_container

    return inspect_container(engine, record)


def output_of(attached: Attached) -> Iterator[tuple[int, bytes]]:
    """Yield what a command writes, each piece with its stream: 1 stdout, 2 stderr."""
    try:
        while (found := attached.read()) is not None:
            yield found
    finally:
        attached.close()


def _split(piece: tuple[int, bytes]) -> tuple[bytes | None, bytes | None]:
    kind, data = piece
    return (None, data) if kind == _STDERR else (data, None)


class _Pieces(Iterator[bytes]):
    """Bytes in pieces of one size; when they end, or nobody wants more, what they come from is closed."""

    def __init__(self, source: ExitStack, chunks: Iterator[bytes], size: int | None) -> None:
        self._source = source
        self._chunks = chunks
        self._size = size
        self._held = b""

    def __next__(self) -> bytes:
        try:
            while len(self._held) < (self._size or 1):
                self._held += next(self._chunks)
        except StopIteration:
            self.close()
            if not self._held:
                raise
        except BaseException:
            self.close()
            raise
        piece, self._held = (self._held[: self._size], self._held[self._size :]) if self._size else (self._held, b"")
        return piece

    def close(self) -> None:
        """End it, before its end as well."""
        self._source.close()

    def __del__(self) -> None:
        self.close()

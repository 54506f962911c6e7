"""Everything that one build works with, opened once and closed in order. Does I/O."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from firkin.builder.cache.records import StepRecords
from firkin.builder.context.views import Matcher
from firkin.builder.copy.content import FileDigests
from firkin.builder.copy.plan import CopyTools
from firkin.builder.graph.step import Graph
from firkin.builder.history.ledger import Ledger
from firkin.builder.request import BuildRequest
from firkin.builder.solve.contexts import Contexts, ParseGit, ReadIgnore
from firkin.builder.solve.engine import Engine, Sources
from firkin.builder.solve.result import Files
from firkin.builder.solve.services import RunSettings, Runtime, Services, SshSockets
from firkin.builder.solve.wanted import plan_wanted
from firkin.content.fetch import OriginFetcher
from firkin.content.format import LayerFormat
from firkin.content.layers import Layers, open_layers
from firkin.content.resolve import ImageResolver
from firkin.errors import Cancelled, HostError
from firkin.events import Emit, Warned
from firkin.hints import Hint
from firkin.linux.machine import this_platform
from firkin.store.digests import StoredDigests
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools

if TYPE_CHECKING:
    from firkin.backend import Backend
    from firkin.builder.context.views import Member
    from firkin.builder.solve.remote_cache import RemoteCache
    from firkin.builder.solve.ssh import SshAgents
    from firkin.layer.change import Content
    from firkin.registry.client import RegistryClient


class BuildSession:
    """The store, pools, registry client, contexts and resolver of one build. Use as a context manager."""

    def __init__(
        self,
        request: BuildRequest,
        emit: Emit,
        cancel: Cancel,
        clock: Callable[[], float],
        matcher: Callable[[tuple[str, ...]], Matcher],
        read_ignore: ReadIgnore,
        parse_git: ParseGit,
        backend: Callable[[], Backend],
    ) -> None:
        self._backend = backend
        self._matcher = matcher
        self._read_ignore = read_ignore
        self._parse_git = parse_git
        self.request = request
        self.emit = emit
        self.cancel = cancel
        self.clock = clock
        self.stop = Cancel()  # also set when a step fails
        self.ledger = Ledger()
        self.host = this_platform()
        cores = len(os.sched_getaffinity(0))
        steps = request.max_parallel_steps or max(2, cores)
        self.pools = Pools(steps=steps, transfers=max(1, request.registry.parallel), cpu=max(1, cores))
        self.store = Store(request.store_root, clock, self.warn)
        self._stack = ExitStack()
        self._client: RegistryClient | None = None
        self._client_lock = threading.Lock()
        self.caches: RemoteCache | None = None
        self._stop_fd: int
        self._runtime: Runtime | None = None
        self._choosing = threading.Lock()
        self._agents: SshAgents | None = None
        self.contexts: Contexts
        self.resolver: ImageResolver
        self.layers: Layers
        self.digests: StoredDigests

    def __enter__(self) -> BuildSession:
        try:
            self._stack.enter_context(self.store)
            self._stack.callback(self.cancel.on_cancel(lambda: self.stop.set(self.cancel.signal)))
            self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC)
            self._stack.callback(os.close, self._stop_fd)
            self._stack.callback(self.stop.on_cancel(lambda: os.eventfd_write(self._stop_fd, 1)))
            self._stack.callback(lambda: self.pools.close(Cancelled("the build has ended")))
            self.digests = StoredDigests(self.store.layout, self.request.context)
            self._stack.callback(self.digests.save)
            self.contexts = self._stack.enter_context(
                Contexts(
                    self.request, self.store, self.emit, self.clock, self._read_ignore, self._parse_git, self.stop
                )
            )
            self.resolver = ImageResolver(
                self.store, self.client, self.emit, self.clock,
                pull=self.request.pull, max_age_s=self.request.registry.base_max_age_s,
            )  # fmt: skip
            self.begin(frozenset())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set(15)
        self._stack.close()

    def begin(self, refused: frozenset[str]) -> None:
        """Begin to work on layers, for the first time or again; caches do not offer the layers in `refused`."""
        fetcher = OriginFetcher(self.client, self.contexts.layouts, self.request.image_dir)
        self.layers = open_layers(
            self.store, self.pools, fetcher, self.emit, self.stop, self.clock, owner_free=self._owner_free(),
            limits=self.request.unpack,
        )
        if self.request.cache_from or self.request.cache_to:
            from firkin.builder.solve.caches import cache_places
            from firkin.builder.solve.remote_cache import RemoteCache

            places = cache_places(self.request, self.client, self.host, self.contexts.layouts, self.warn)
            self.caches = RemoteCache(
                *places, self.store, self.layers, self.pools.transfers, self.emit, self.stop, self.clock, refused
            )
            self._stack.callback(self.caches.close)

    def client(self) -> RegistryClient:
        """The registry client, made on first use."""
        with self._client_lock:
            if self._client is None:
                from firkin.registry.client import RegistryClient

                self._client = RegistryClient(self.request.registry, warn=self.warn, cancelled=self.stop)
                self._stack.callback(self._client.close)
            return self._client

    def warn(self, code: str, message: str) -> None:
        """Emit a warning that has no place in a file."""
        self.emit(Warned(self.clock(), code, message))

    def _owner_free(self) -> bool:
        """Say whether files cannot get owners here: the worker has one id only."""
        try:
            return self._backend().single_id
        except HostError:
            from firkin.linux.probe import may_make_any_file

            return os.geteuid() != 0 or not may_make_any_file()

    def runtime(self) -> Runtime:
        """Root file system and sandbox, chosen from the facts about this machine on first use."""
        with self._choosing:  # steps ask in parallel, and there must be only one
            if self._runtime is None:
                from firkin.builder.solve.runtime import make_runtime

                backend = self._backend()
                if backend.readable:
                    told = f"RUN steps can read `{backend.readable[0]}`, which is mounted here"
                    remedy = Hint.of("isolation-for-credentials")
                    self.emit(Warned(self.clock(), "readable-credentials", told, remedy=remedy))
                self._runtime = make_runtime(backend, self.request, lambda: self.client().preload())
                self._stack.callback(self._runtime.close)
            return self._runtime

    def engine(
        self,
        graph: Graph,
        slot_prefix: str,
        formats: tuple[LayerFormat, ...] = (),
        *,
        whole_files: bool,
        base_blobs: bool = False,
        on_first_miss: Callable[[], None] = lambda: None,
    ) -> Engine:
        """Return an engine for one graph.

        The layers of its targets are shipped in `formats`; `whole_files` says that an output needs the targets' files
        themselves, `base_blobs` that one needs the blobs of all layers. `slot_prefix` and `on_first_miss` as for
        Engine.
        """
        return Engine(
            self._services(),
            Sources(self.contexts.files, lambda op, vertex: self.contexts.fetch(op, vertex, self.stop)),
            graph,
            plan_wanted(graph, formats, whole_files=whole_files, base_blobs=base_blobs),
            slot_prefix,
            on_first_miss=on_first_miss,
            explain=self.request.explain,
            require_cached=self.request.require_cached,
        )

    def _services(self) -> Services:
        request = self.request
        lists = self.ledger.lists if request.history.keep_builds else None
        return Services(
            store=self.store,
            records=StepRecords(self.store),
            layers=self.layers,
            pools=self.pools,
            tools=self._tools(),
            file_digests=FileDigests(self.digests, int(self.clock() * 1e9), lists),
            run=RunSettings(
                request.run,
                {secret.id: secret for secret in request.secrets},
                self._ssh_sockets(),
                _resolv_conf(),
                empties_mounts=not request.verify,
            ),
            runtime=self.runtime,
            remote=self.caches,
            emit=self.emit,
            clock=self.clock,
            stop=self.stop,
            stop_fd=self._stop_fd,
            ledger=self.ledger,
        )

    def _ssh_sockets(self) -> SshSockets:
        if not self.request.ssh:
            return {}
        if self._agents is None:
            from firkin.builder.solve.ssh import SshAgents

            place = self.store.layout.scratch_path("ssh-agent")
            agents = self._agents = SshAgents(self.request.ssh, place, self.request.registry.helper_path)
            self._stack.callback(agents.close)
        return self._agents

    def _tools(self) -> CopyTools:
        from firkin.builder.solve.view_files import read_content

        return CopyTools(read_content, self._open_archive, self._matcher, self.warn)

    def _open_archive(self, content: Content) -> Iterator[Member] | None:
        from firkin.builder.context.archive import ArchiveOpener

        return ArchiveOpener(self.store.layout.scratch_path, self.request.unpack)(content)

    def newest_in_archive(self, files: Files) -> int | None:
        """Return the latest mtime of a file in a downloaded archive; None for other downloads."""
        name = files.filename
        if not name:
            return None
        members = self._tools().open_archive(files.view().content(name)) or ()
        times = (member.entry.mtime_ns for member in members if member.entry.kind == "file" and not member.link)
        newest = max(times, default=None)
        return None if newest is None else newest // 1_000_000_000


def _resolv_conf() -> bytes:
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return file.read()
    except OSError:
        return b""

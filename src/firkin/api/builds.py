"""The Python API: `firkin.build(...)`. Does I/O. Each call starts a worker process, so callers may use threads.

Nothing is kept between calls. Each call reads the surroundings (environment, home, clock) once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

import msgspec

from firkin.ambient import (
    Ambient,
    absolute,
    config_files,
    registry_settings,
    request_template,
    store_root,
    text_environment,
)
from firkin.api import keywords
from firkin.api.hints import API, in_own_words
from firkin.api.keywords import given, optional
from firkin.builder.request import (
    BuildRequest,
    BuildResult,
    CacheRef,
    Output,
    RunOptions,
    SshAgent,
    check_request,
    encode_request,
)
from firkin.errors import Cancelled, FirkinError, InternalError, StepFailed, UsageError
from firkin.events import Event, Finished, Log, in_words
from firkin.registry.settings import RegistrySettings
from firkin.settings import Settings, read_settings
from firkin.worker.client import Ending, Worker, spawn_worker
from firkin.worker.messages import Success, error_of

_POLL_S = 0.1
_GRACE_S = 10.0
_SIGTERM = 15
_OUTPUT_HINT = 'write a list of `firkin.Output` values: `outputs=[firkin.Output("oci", dest="app.tar")]`'
_ISOLATION = keywords.choice("auto", "namespaces", "chroot", "inplace")
_OUTPUT_BYTES = 1 << 16  # of a step, kept in case it fails


class StopSign(Protocol):
    """Can be set to stop a build, e.g. a threading.Event."""

    def is_set(self) -> bool:
        """Tell whether the build is to stop."""


@in_own_words
def build(
    context: str | os.PathLike[str] = ".",
    *,
    tags: Iterable[str] = (),
    build_args: Mapping[str, str] | None = None,
    dockerfile: str | os.PathLike[str] | None = None,
    dockerfile_text: str | None = None,
    target: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    build_contexts: Mapping[str, str | os.PathLike[str]] | None = None,
    secrets: Mapping[str, str | bytes] | None = None,
    outputs: Iterable[Output] | None = None,
    push: bool = False,
    platform: str | Iterable[str] | None = None,
    no_cache: bool = False,
    no_cache_filter: Iterable[str] = (),
    pull: bool = False,
    cache_from: Iterable[CacheRef] = (),
    cache_to: Iterable[CacheRef] = (),
    require_cached: bool = False,
    ssh: Iterable[SshAgent] = (),
    allow: Iterable[str] = (),
    source_date_epoch: int | None = None,
    rewrite_timestamp: bool = False,
    max_parallel_steps: int = 0,
    run_options: RunOptions | None = None,
    registry: RegistrySettings | None = None,
    isolation: Literal["auto", "namespaces", "chroot", "inplace"] | None = None,
    root: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], object] | None = None,
    cancel: StopSign | None = None,
    timeout_s: float | None = None,
) -> BuildResult:
    """Build an image from a Dockerfile and return the result.

    `context` is a directory or a URL; `dockerfile` is a path from the working directory (default:
    `Dockerfile` in the context), `dockerfile_text` replaces a file. `platform` is one or several of
    `OS/ARCH[/VARIANT]`. `secrets` are values by id; `outputs` default to the store, with `push` to the
    registries of `tags` instead. `require_cached` fails where a step would have to run; `allow` names
    entitlements (`network.host`, `security.insecure`). `source_date_epoch` is in seconds since 1970;
    `max_parallel_steps` 0 means as many as there are cores. `registry` replaces the settings of the
    environment and config.toml; `root` is the place of the store. `on_event` is called in this thread for each
    event; an exception in it stops the build and reaches the caller. `cancel` is checked ten times a second,
    `timeout_s` is in seconds; both stop the build.

    Raises FirkinError, of the same classes as the command line. UsageError: the arguments; DockerfileError,
    ContextError: the Dockerfile and its files; StepFailed: a RUN, with the command's exit code as
    `exit_code` and the end of its output as `output`; HostError: something that this machine lacks;
    RegistryError, StoreError; Cancelled: the build was stopped.
    """
    if dockerfile is not None and dockerfile_text is not None:
        raise UsageError("`dockerfile` and `dockerfile_text` exclude each other")
    epoch_s = optional(_seconds_since_1970, "source_date_epoch", source_date_epoch)
    written = _outputs(outputs, push)
    ambient, settings = read_surroundings(root, registry, config)
    request = msgspec.structs.replace(
        request_template(ambient, keywords.path("context", context), settings.root, settings.registry),
        gc=settings.gc,
        history=settings.history,
        dockerfile=given(keywords.path, "dockerfile", dockerfile, ""),
        dockerfile_text=optional(keywords.document, "dockerfile_text", dockerfile_text),
        target=given(keywords.text, "target", target, ""),
        build_args=given(keywords.pairs, "build_args", build_args, ()),
        labels=given(keywords.pairs, "labels", labels, ()),
        annotations=given(keywords.pairs, "annotations", annotations, ()),
        build_contexts=given(keywords.places, "build_contexts", build_contexts, ()),
        secrets=given(keywords.secrets, "secrets", secrets, ()),
        platforms=given(keywords.text_or_texts, "platform", platform, ()),
        tags=keywords.texts("tags", tags),
        outputs=written,
        no_cache=keywords.flag("no_cache", no_cache),
        no_cache_filter=keywords.texts("no_cache_filter", no_cache_filter),
        pull=keywords.flag("pull", pull),
        cache_from=keywords.structures(CacheRef)("cache_from", cache_from),
        cache_to=keywords.structures(CacheRef)("cache_to", cache_to),
        require_cached=keywords.flag("require_cached", require_cached),
        ssh=keywords.structures(SshAgent)("ssh", ssh),
        allow=keywords.texts("allow", allow),
        source_date_epoch=epoch_s,
        rewrite_timestamp=keywords.flag("rewrite_timestamp", rewrite_timestamp),
        max_parallel_steps=keywords.integer("max_parallel_steps", max_parallel_steps),
        run=given(keywords.structure(RunOptions), "run_options", run_options, RunOptions()),
        unpack=settings.unpack,
        isolation=given(_ISOLATION, "isolation", isolation, settings.isolation or "auto"),
    )
    return run(request, on_event, cancel=cancel, timeout_s=timeout_s)


def _seconds_since_1970(name: str, value: object) -> int:
    found = keywords.integer(name, value)
    if found < 0:
        raise UsageError(f"`{name}` is {found}, not a number of seconds since 1970")
    return found


def _outputs(outputs: Iterable[Output] | None, push: bool) -> tuple[Output, ...]:
    """Return where the image goes: to the store, unless the caller chose something else."""
    written = optional(keywords.structures(Output, _OUTPUT_HINT), "outputs", outputs)
    pushed = (Output("registry"),) if keywords.flag("push", push) else ()
    return (*written, *pushed) if written is not None else pushed or (Output(),)


@in_own_words
def run(
    request: BuildRequest,
    on_event: Callable[[Event], object] | None = None,
    *,
    cancel: StopSign | None = None,
    timeout_s: float | None = None,
) -> BuildResult:
    """Run a request in a worker process and return its result; raises as `build` does."""
    request = keywords.structure(BuildRequest)("request", request)
    optional(keywords.listener, "on_event", on_event)
    keywords.check_cancel("cancel", cancel)
    limit_s = optional(keywords.seconds, "timeout_s", timeout_s)
    data = _encoded(request)
    watcher = _Watcher(on_event, cancel, time.monotonic() + limit_s if limit_s is not None else None)
    return watcher.result(spawn_worker(data).watch(watcher))


def _encoded(request: BuildRequest) -> bytes:
    """Return a request as a worker reads it; raises UsageError for what no worker can do for a caller from Python."""
    if request.context == "-" or request.dockerfile == "-":
        raise UsageError("the API has no standard input to read from",
                         hints=("hand the Dockerfile over as `dockerfile_text`",))  # fmt: skip
    for tag in request.tags:
        if "@" in tag:
            raise UsageError(f"invalid tag `{tag}`: it has a digest, which nobody knows before the build")
    for what, pairs in (("build argument", request.build_args), ("label", request.labels)):
        if any(not key.strip() for key, _ in pairs):
            raise UsageError(f"a {what} has no name")
    check_request(request)
    data = encode_request(request)
    for output in request.outputs:
        _check_place(output)
    return data


def _check_place(output: Output) -> None:
    if output.dest == "-":
        raise UsageError("the API does not write an image to standard output", hints=("name a file as `dest`",))
    if not output.dest and output.type in ("docker", "oci", "tar", "local"):
        raise UsageError(f"an output of type {output.type} needs a place", hints=("name it as `dest`",))


class _Watcher:
    """Hands events on, keeps the end of what steps write, and stops the build when it is time."""

    descriptor = -1

    def __init__(
        self, on_event: Callable[[Event], object] | None, cancel: StopSign | None, deadline_s: float | None
    ) -> None:
        self._on_event = on_event
        self._cancel = cancel
        self._deadline_s = deadline_s
        self._outputs: dict[str, bytes] = {}  # the end of what each running step wrote
        self._failed = ""  # the step that failed
        self._why = ""  # why the caller stopped the build; "" if not

    def event(self, event: Event) -> None:
        """Keep the end of a step's output until the step has succeeded, and hand the event on."""
        if isinstance(event, Log):
            self._outputs[event.id] = (self._outputs.get(event.id, b"") + event.data)[-_OUTPUT_BYTES:]
        elif isinstance(event, Finished):
            if event.status == "failed":
                self._failed = self._failed or event.id
            else:
                self._outputs.pop(event.id, None)
        if self._on_event is not None:
            self._on_event(in_words(event, API))

    def wait_s(self) -> float | None:
        """Return how often to check whether the caller wants to stop; None if it cannot."""
        return None if self._cancel is None and self._deadline_s is None else _POLL_S

    def look(self, worker: Worker) -> None:
        """Ask the worker to stop when the time is over or the caller wants to stop."""
        if self._why:
            return
        if self._deadline_s is not None and time.monotonic() >= self._deadline_s:
            self._why = "the build took longer than its time limit"
        elif self._cancel is not None and self._cancel.is_set():
            self._why = "the build was cancelled"
        else:
            return
        worker.kill_after(_GRACE_S)
        worker.send(_SIGTERM)

    def result(self, ending: Ending) -> BuildResult:
        """Return the result of the build; raises its failure, or Cancelled."""
        if isinstance(ending.last, Success):
            return ending.last.result
        if self._why:
            raise Cancelled(self._why, exit_code=128 + _SIGTERM)
        if ending.last is None:
            raise InternalError(f"the worker ended without a result (status {ending.status})")
        failure = error_of(ending.last)
        if isinstance(failure, StepFailed):
            failure.output = self._outputs.get(self._failed, b"")
        raise failure


def read_surroundings(
    root: str | os.PathLike[str] | None,
    registry: RegistrySettings | None,
    config: str | os.PathLike[str] | None = None,
) -> tuple[Ambient, Settings]:
    """Return the surroundings of this process, and the settings: the arguments, then config.toml, then environment."""
    place = optional(keywords.path, "root", root)
    chosen = optional(keywords.structure(RegistrySettings), "registry", registry)
    required = optional(keywords.path, "config", config)
    ambient = read_ambient()
    settings = read_settings(
        config_files(ambient), absolute(ambient.cwd, required) if required else "", registry_settings(ambient)
    )
    place = absolute(ambient.cwd, place or settings.root or store_root(ambient))
    return ambient, settings._replace(root=place, registry=chosen or settings.registry)


def read_ambient() -> Ambient:
    """Read the surroundings of this process."""
    return Ambient(text_environment(os.environ), os.getcwd(), os.path.expanduser("~"), os.geteuid(), time.time())


__all__ = ["BuildRequest", "BuildResult", "FirkinError", "build", "run"]

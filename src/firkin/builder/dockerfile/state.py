"""The state that lowering keeps: that of each stage, and the context that all stages share. Pure.

`lower.py` makes both, `instructions/` changes them. Other modules import only the types for options and resolvers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from firkin.builder.dockerfile.words import Expanded, Lexer
from firkin.builder.graph.ops import Context, Op
from firkin.builder.graph.step import GraphBuilder, StepId, StepMeta
from firkin.builder.request import BUILDKIT, Dialect
from firkin.errors import DockerfileError
from firkin.oci.config import Healthcheck, History, ImageConfig, RuntimeConfig
from firkin.oci.image import Layer
from firkin.oci.platform import Platform
from firkin.oci.run_settings import DEFAULT_PATH, Network
from firkin.source import Span
from firkin.text import hide_passwords, nearest, valid_text

HISTORY_COMMENT = "buildkit.dockerfile.v0"  # the comment that BuildKit writes
DEFAULT_SHELL = ("/bin/sh", "-c")
PROXY_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
MAX_SUGGESTIONS = 100  # each suggestion compares with all variables
NON_ENV_ARGS = frozenset(("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"))

Warn = Callable[[str, str, Span | None], None]
"""(code, message, where)"""


class BaseImage(msgspec.Struct, frozen=True):
    """A resolved image of a FROM, a --from or a named context.

    `name` is canonical (`docker.io/library/busybox:latest`); `digest` is that of the manifest or index
    that the name resolved to; `origin` is for ops.Pull.
    """

    name: str
    digest: str
    origin: str
    platform: Platform
    config: ImageConfig
    layers: tuple[Layer, ...]


class NamedContext(msgspec.Struct, frozen=True):
    """The value of a --build-context: an image, or else files (ops.Context of that name)."""

    image: BaseImage | None = None


class Resolver(Protocol):
    """Provides lowering with everything outside the Dockerfile; raises FirkinError."""

    def image(self, name: str, platform: Platform, span: Span | None) -> BaseImage:
        """Return the image of a canonical name for a platform."""

    def context(self, name: str, platform: Platform, span: Span | None) -> NamedContext:
        """Return the named context; `name` is one of LowerOptions.contexts."""


class LowerOptions(msgspec.Struct, frozen=True):
    """Everything besides its text that the meaning of a Dockerfile depends on.

    If `platform_requested` is False, the result has the platform of its base image. `contexts` are the names
    given with --build-context. If SOURCE_DATE_EPOCH is a name, `named_epoch` is the time of that source, if it
    has one (see epoch.py). `all_stages` lowers unused stages as well (checks).
    """

    platform: Platform
    build_platform: Platform
    platform_requested: bool = False
    build_args: tuple[tuple[str, str], ...] = ()
    proxy_args: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    dialect: Dialect = BUILDKIT
    target: str = ""
    contexts: tuple[str, ...] = ()
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    source_date_epoch: int | None = None
    named_epoch: int | None = None
    allow: frozenset[str] = frozenset()
    network: Network = "default"
    all_stages: bool = False

    @property
    def arguments(self) -> dict[str, str]:
        """Build arguments by name, including the proxies of the environment."""
        return dict(self.proxy_args) | dict(self.build_args)

    def is_uncached(self, stage_name: str) -> bool:
        """Say whether the cache is not used for a stage. Mirrors: dockerui IsNoCache."""
        return self.no_cache or stage_name.lower() in (name.lower() for name in self.no_cache_filter)


class FromSource(msgspec.Struct, frozen=True):
    """The source of a COPY --from or a mount's from=; `step` is None if it is defined later or not at all.

    If `is_image` is False, it is a context, whose files belong to 0:0.
    """

    step: StepId | None
    is_image: bool = True
    is_scratch: bool = False


class LowerContext:
    """The state that all stages share: options, the graph under construction, expansion and warnings."""

    __slots__ = (
        "arguments", "builder", "cache_namespace", "epoch_s", "escape", "global_args", "hostname", "lexer", "options",
        "proxy_env", "suggestions_left", "warn",
    )  # fmt: skip

    def __init__(
        self,
        options: LowerOptions,
        builder: GraphBuilder,
        escape: str,
        global_args: Mapping[str, str],
        warn: Warn,
        epoch_s: int | None = None,
    ) -> None:
        self.epoch_s = epoch_s
        self.options = options
        self.arguments = options.arguments
        self.builder = builder
        self.escape = escape
        self.lexer = Lexer(escape)
        self.global_args = global_args
        self.warn = warn
        self.proxy_env = proxy_environment(self.arguments)
        self.cache_namespace = self.arguments.get("BUILDKIT_CACHE_MOUNT_NS", "")
        self.suggestions_left = MAX_SUGGESTIONS
        self.hostname = self.arguments.get("BUILDKIT_SANDBOX_HOSTNAME", "")

    def main_context(self, platform: Platform) -> StepId:
        """Return the step of the main build context."""
        return self.builder.add(Context(), (), StepMeta("load build context", platform=platform))


def proxy_environment(arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Return the proxy variables for RUN, in upper and in lower case."""
    values: dict[str, str] = {}
    for name in sorted(arguments):
        if name.upper() in PROXY_NAMES:
            values[name.upper()] = arguments[name]
    return tuple(
        f"{spelling}={values[name]}"
        for name in PROXY_NAMES
        if values.get(name)
        for spelling in (name, name.lower())
    )


class StageState(msgspec.Struct, eq=False):
    """A stage while its instructions are folded into it. Mirrors: buildkit's dispatchState.

    `env` has the variables for expansion and RUN (ENV and ARG), `image_env` those of the image. `number`
    is the number of the last step, of `total`.
    """

    name: str
    platform: Platform
    image_platform: Platform
    step: StepId
    env: dict[str, str]
    image_env: list[str]
    history: list[History]
    labels: dict[str, str]
    ports: dict[str, None]
    volumes: dict[str, None]
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    on_build: list[str] = msgspec.field(default_factory=list)
    shell: tuple[str, ...] | None = None
    author: str = ""
    base_name: str = ""
    base_digest: str = ""
    base_s: int = 0
    build_args: list[tuple[str, str | None]] = msgspec.field(default_factory=list)
    workdir_set: bool = False
    no_cache: bool = False
    number: int = 0
    total: int = 0
    in_onbuild: bool = False
    cmd_span: Span | None = None
    entrypoint_span: Span | None = None
    healthcheck_span: Span | None = None
    sources: tuple[FromSource | None, ...] = ()  # of the instruction being lowered
    image_env_places: dict[str, int] = msgspec.field(default_factory=dict)  # index of a name's first entry

    @classmethod
    def on(
        cls, runtime: RuntimeConfig, name: str, platform: Platform, image_platform: Platform, step: StepId
    ) -> StageState:
        """Return a stage that begins with an image's settings; `step` makes its files."""
        return cls(
            name=name,
            platform=platform,
            image_platform=image_platform,
            step=step,
            env={},
            image_env=list(runtime.env),
            history=[],
            labels=dict(runtime.labels),
            ports=dict.fromkeys(runtime.exposed_ports),
            volumes=dict.fromkeys(runtime.volumes),
            cmd=runtime.cmd,
            entrypoint=runtime.entrypoint,
            working_dir=runtime.working_dir,
            user=runtime.user,
            stop_signal=runtime.stop_signal,
            args_escaped=runtime.args_escaped,
            healthcheck=runtime.healthcheck,
            on_build=list(runtime.on_build),
            shell=runtime.shell,
        )

    def child(self) -> StageState:
        """Return the state that `FROM this-stage` starts with."""
        return StageState(
            name="",
            platform=self.platform,
            image_platform=self.image_platform,
            step=self.step,
            env=dict(self.env),
            image_env=list(self.image_env),
            history=list(self.history),
            labels=dict(self.labels),
            ports=dict(self.ports),
            volumes=dict(self.volumes),
            cmd=self.cmd,
            entrypoint=self.entrypoint,
            working_dir=self.working_dir,
            user=self.user,
            stop_signal=self.stop_signal,
            args_escaped=self.args_escaped,
            healthcheck=self.healthcheck,
            shell=self.shell,
            author=self.author,
            base_name=self.base_name,
            base_digest=self.base_digest,
            base_s=self.base_s,
            build_args=list(self.build_args),
            workdir_set=self.workdir_set,
        )

    def start(self) -> None:
        """Apply the environment of the base image, before the first instruction of the stage."""
        if not any(entry.partition("=")[0] == "PATH" for entry in self.image_env):
            self.image_env.append(f"PATH={DEFAULT_PATH}")
        self.take_image_variables()
        if self.working_dir and not self.working_dir.startswith("/"):
            self.working_dir = "/" + self.working_dir

    def take_image_variables(self) -> None:
        """Set the variables of the image for expansion and RUN."""
        for index, entry in enumerate(self.image_env):
            name, _, value = entry.partition("=")
            self.image_env_places.setdefault(name, index)
            self.set_variable(name, value)

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable for expansion and RUN; the newest comes last."""
        self.env.pop(name, None)
        self.env[name] = value

    def set_image_variable(self, name: str, value: str) -> None:
        """Set a variable of the image; it replaces an older one in place. Mirrors: addEnv."""
        index = self.image_env_places.setdefault(name, len(self.image_env))
        if index == len(self.image_env):
            self.image_env.append("")
        self.image_env[index] = f"{name}={value}"

    def record(self, created_by: str, layer: bool = False) -> None:
        """Add a line of history; `layer`: the instruction made one."""
        self.history.append(
            History(created_by=valid_text(created_by), comment=HISTORY_COMMENT, empty_layer=not layer)
        )

    def add_step(
        self, op: Op, others: tuple[StepId, ...], title: str, written: str, span: Span, context: LowerContext
    ) -> None:
        """Put a step on top of the stage; its input 0 is the stage so far. `written`: the instruction, unexpanded."""
        self.number += 1
        prefix = "ONBUILD " if self.in_onbuild else ""
        self.step = context.builder.add(
            op,
            (self.step, *others),
            StepMeta(
                prefix + title,
                self.name,
                self.number,
                max(self.number, self.total),
                span,
                self.no_cache,
                self.platform,
                context.epoch_s,
                self.base_s,
                prefix + hide_passwords(valid_text(written.strip())),
            ),
        )

    def expand(self, text: str, span: Span, context: LowerContext, lexer: Lexer | None = None) -> str:
        """Expand variables in one word; warn of undefined ones. Raises DockerfileError."""
        if "$" not in text and '"' not in text and "'" not in text and context.escape not in text:
            return text.removeprefix("\ufeff")
        try:
            expanded = (lexer or context.lexer).expand(text, self.env)
        except ValueError as error:
            raise DockerfileError(str(error), span=span) from None
        self.warn_unmatched(expanded.unmatched, span, context)
        return expanded.text

    def warn_unmatched(self, unmatched: frozenset[str], span: Span, context: LowerContext) -> None:
        """Warn of variables that are not set. Mirrors: reportUnmatchedVariables."""
        if not unmatched:
            return
        declared = {name for name, _ in self.build_args}
        for name in sorted(unmatched - declared - NON_ENV_ARGS):
            match = nearest(name, self.env) if context.suggestions_left > 0 else None
            context.suggestions_left -= 1
            hint = f" (did you mean ${match}?)" if match else ""
            context.warn("UndefinedVar", f"Usage of undefined variable '${name}'{hint}", span)

    def title_of(self, text: str, context: LowerContext, lexer: Lexer | None = None) -> str:
        """Return an instruction for display, with its variables expanded if that works."""
        try:
            shown: Expanded | None = (lexer or context.lexer).expand(text, self.env)
        except ValueError:
            shown = None
        words = hide_passwords(valid_text(shown.text if shown else text)).partition(" ")
        return words[0].upper() + words[1] + words[2]

    def runtime(self) -> RuntimeConfig:
        """Return the `config` object of the image. Bytes that are not UTF-8 are replaced: JSON cannot hold them."""
        check = self.healthcheck
        if check is not None:
            check = msgspec.structs.replace(check, test=_valid(check.test) or ())
        return RuntimeConfig(
            user=valid_text(self.user),
            exposed_ports=tuple(self.ports),
            env=_valid(self.image_env) or (),
            entrypoint=_valid(self.entrypoint),
            cmd=_valid(self.cmd),
            volumes=_valid(self.volumes) or (),
            working_dir=valid_text(self.working_dir),
            labels=tuple((valid_text(name), valid_text(value)) for name, value in self.labels.items()),
            stop_signal=self.stop_signal,
            args_escaped=self.args_escaped,
            healthcheck=check,
            on_build=_valid(self.on_build) or (),
            shell=_valid(self.shell),
        )


def _valid(texts: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(map(valid_text, texts))

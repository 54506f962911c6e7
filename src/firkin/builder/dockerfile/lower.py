"""From a syntax tree to a graph: select the stages in use, resolve their bases, fold them. Pure.

A Resolver provides everything outside the text (images, named contexts). build, check, lint, epoch and the
command line import it. Mirrors: buildkit dockerfile2llb convert.go (toDispatchState).
"""

from __future__ import annotations

import msgspec

from firkin.builder.dockerfile.instructions import row_of
from firkin.builder.dockerfile.instructions.onbuild import OnBuild
from firkin.builder.dockerfile.instructions.transfer import path_source
from firkin.builder.dockerfile.parse import parse_onbuild
from firkin.builder.dockerfile.stages import EPOCH, Command, Node, Plan
from firkin.builder.dockerfile.state import (
    BaseImage,
    FromSource,
    LowerContext,
    LowerOptions,
    NamedContext,
    Resolver,
    StageState,
    Warn,
)
from firkin.builder.dockerfile.syntax import Dockerfile
from firkin.builder.dockerfile.words import quote
from firkin.builder.graph.assemble import seconds_of
from firkin.builder.graph.ops import Context, Pull, Scratch
from firkin.builder.graph.ops import Copy as CopyOp
from firkin.builder.graph.step import Graph, GraphBuilder, ImagePlan, StepMeta
from firkin.builder.request import BuildRequest
from firkin.errors import DockerfileError, FirkinError
from firkin.oci.config import History
from firkin.oci.platform import Platform, normalize
from firkin.source import Span
from firkin.text import nearest, valid_text

__all__ = ["BaseImage", "LowerOptions", "NamedContext", "Resolver", "list_images", "lower", "options_of"]

_STEPS = ("add", "copy", "run", "workdir")
_COMMON_IMAGES = ("alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora")


def options_of(request: BuildRequest, platform: Platform | None, host: Platform) -> LowerOptions:
    """Return the options for lowering from a request, for one platform (None: the host's)."""
    return LowerOptions(
        platform=platform or host,
        build_platform=host,
        platform_requested=bool(request.platforms),
        build_args=request.build_args,
        proxy_args=request.proxy_args,
        labels=request.labels,
        dialect=request.dialect,
        target=request.target,
        contexts=tuple(name for name, _ in request.build_contexts),
        no_cache=request.no_cache,
        no_cache_filter=request.no_cache_filter,
        source_date_epoch=request.source_date_epoch,
        allow=frozenset(request.allow),
        network=request.run.network,
    )


def list_images(dockerfile: Dockerfile, options: LowerOptions) -> tuple[tuple[str, Platform], ...]:
    """Return the images (canonical names) that the used stages begin with or copy from.

    Images that ONBUILD triggers of base images name are not known yet. Raises DockerfileError.
    """
    plan = Plan(dockerfile, options, _ignore)
    found: dict[tuple[str, Platform], None] = {}
    for node in plan.reachable():
        if node.base is None and not node.is_scratch and not node.context:
            if plan.context_for(node.canonical()) is None:
                found[node.canonical(), node.platform or options.platform] = None
    return tuple(found)


def lower(dockerfile: Dockerfile, options: LowerOptions, resolver: Resolver, warn: Warn) -> Graph:
    """Return the graph of the target stage's image.

    Raises DockerfileError at the instruction, and the errors of the resolver.
    """
    plan = Plan(dockerfile, options, warn)
    plan.warn_unused_arguments()
    lowering = _Lowering(plan, resolver)
    lowering.resolve()
    lowering.fold()
    return lowering.graph()


def _ignore(code: str, message: str, span: Span | None) -> None:
    """Ignore a warning: it is given again when the file is lowered."""


class _Lowering:
    """Resolves the bases of the stages in use and folds their instructions."""

    def __init__(self, plan: Plan, resolver: Resolver) -> None:
        self.plan = plan
        self.options = plan.options
        self.resolver = resolver
        self.builder = GraphBuilder()
        self.context = LowerContext(plan.options, self.builder, plan.escape, plan.global_args, plan.warn, plan.epoch)
        if plan.epoch is not None:  # as in buildx, that of the environment counts as a build argument
            self.context.arguments[EPOCH] = str(plan.epoch)
        else:
            self.context.arguments.pop(EPOCH, None)

    def resolve(self) -> None:
        """Resolve the bases of used stages; repeat it as long as ONBUILD triggers add stages."""
        grown = True
        while grown:
            grown = False
            reachable = self.plan.reachable()
            used = set(reachable)
            for node in list(self.plan.nodes):
                if node.base is None and not node.resolved:
                    self._resolve_base(node, node in used)
            for node in reachable:
                if self._read_onbuild(node):
                    grown = True

    def _resolve_base(self, node: Node, used: bool) -> None:
        if not used:
            if not node.is_scratch and not node.context:
                node.canonical()  # an invalid name is an error even if the stage is not used
            return
        node.resolved = True
        platform = node.platform or self.options.platform
        if node.context:
            named = self.resolver.context(node.context, platform, node.span)
            node.state = self._named_state(node.context, named, platform, node)
            node.state.start()
            node.done = True
        elif node.is_scratch:
            node.state = self._scratch_state()
            node.done = node.stage is None
        else:
            node.state = self._image_state(node, platform)
            node.done = node.stage is None

    def _image_state(self, node: Node, platform: Platform) -> StageState:
        name = node.canonical()
        replaced = self.plan.context_for(name)
        if replaced is not None:
            named = self.resolver.context(replaced, platform, node.span)
            return self._named_state(replaced, named, platform, node)
        try:
            image = self.resolver.image(name, platform, node.span)
        except FirkinError as error:
            error.span = error.span or node.span
            match = nearest(node.base_text, (*self.plan.stage_names(), *_COMMON_IMAGES))
            if match:
                error.hints = (*error.hints, f"did you mean `{match}`?")
            raise
        self._check_platform(node, image, platform)
        return self._state_of(image, platform, node)

    def _check_platform(self, node: Node, image: BaseImage, wanted: Platform) -> None:
        actual = image.config.platform
        if (actual.os, actual.architecture) != (wanted.os, wanted.architecture):
            self.plan.warn(
                "InvalidBaseImagePlatform",
                f"Base image {node.base_text} was pulled with platform {quote(str(actual))}, "
                f"expected {quote(str(wanted))} for current build",
                node.span,
            )

    def _state_of(self, image: BaseImage, platform: Platform, node: Node) -> StageState:
        title = f"FROM {image.name}"
        if image.digest and "@" not in title:
            title += f"@{image.digest}"
        total = 1 + _count_steps(node)
        meta = StepMeta(title, node.shown, 1, total, node.span, platform=platform)
        if image.layers:
            step = self.builder.add(Pull(image.origin, platform, image.layers), (), meta)
        else:
            step = self.builder.add(Scratch(), (), meta)
        config = image.config
        state = StageState.on(config.runtime, node.shown, platform, config.platform, step)
        state.history = _fitting_history(config.history, len(image.layers))
        state.author = config.author
        state.base_name, state.base_digest = image.name, image.digest
        state.base_s = max(0, *(seconds_of(line.created) for line in config.history), seconds_of(config.created))
        state.number, state.total = 1, total
        return state

    def _named_state(
        self, name: str, named: NamedContext, platform: Platform, node: Node
    ) -> StageState:
        if named.image is not None:
            state = self._state_of(named.image, platform, node)
            if node.context:
                state.platform = named.image.config.platform
            return state
        state = self._scratch_state(platform)
        meta = StepMeta(f"load build context {name}", span=node.span, platform=platform)
        state.step = self.builder.add(Context(name), (), meta)
        return state

    def _scratch_state(self, platform: Platform | None = None) -> StageState:
        platform = platform or self.options.platform
        return StageState(
            name="",
            platform=platform,
            image_platform=platform,
            step=self.builder.add(Scratch(), (), StepMeta("FROM scratch", platform=platform)),
            env={},
            image_env=[],
            history=[],
            labels={},
            ports={},
            volumes={},
            working_dir="/",
        )

    def _read_onbuild(self, node: Node) -> bool:
        """Put the base's triggers before the stage's own instructions; return True if they need other stages."""
        if node.onbuild_read:
            return False
        node.onbuild_read = True
        triggers: list[str] = []
        if node.base is None:
            if node.state is not None:
                triggers, node.state.on_build = node.state.on_build, []
        else:
            triggers = [
                command.instruction.trigger
                for command in node.base.commands
                if isinstance(command.instruction, OnBuild)
            ]
        if not triggers or node.stage is None or node.context:
            return False
        commands = [self._trigger(trigger, node) for trigger in triggers]
        node.commands[:0] = commands
        return any(source for command in commands for source in command.sources)

    def _trigger(self, text: str, node: Node) -> Command:
        try:
            return self.plan.command(parse_onbuild(text, node.span), from_onbuild=True)
        except DockerfileError as error:
            error.hints = (*error.hints, _onbuild_hint(text))
            raise

    def fold(self) -> None:
        """Fold the used stages in order, so that the base and the sources of each are done before it."""
        used = set(self.plan.reachable())
        for node in list(self.plan.nodes):
            if node not in used or node.done:
                continue
            state = self._start(node)
            for command in node.commands:
                state.in_onbuild = command.from_onbuild
                state.sources = tuple(
                    None if source is None else self._source_of(source) for source in command.sources
                )
                row = row_of(command.instruction.keyword)
                try:
                    row.lower(command.instruction, state, self.context)
                except DockerfileError as error:
                    if command.from_onbuild:
                        error.hints = (*error.hints, _onbuild_hint(command.instruction.text))
                    raise
            node.done = True

    def _start(self, node: Node) -> StageState:
        if node.base is not None:
            if node.base.state is None:
                raise DockerfileError(
                    f"stage {quote(node.base.shown)} needs to be defined before it is used", span=node.span
                )
            state = node.base.state.child()
        elif node.state is not None:
            state = node.state
        else:
            raise DockerfileError(f"the base of stage {quote(node.shown)} is not resolved", span=node.span)
        state.name = node.shown
        state.no_cache = self.options.is_uncached(node.name)
        state.total = state.number + _count_steps(node)
        if isinstance(self.builder.step(state.step).op, Context):
            self._lay_context(state, node)
        state.start()
        if node is self.plan.target and self.options.dialect.labels_yield:
            state.labels.update(self.options.labels)
        node.state = state
        return state

    def _lay_context(self, state: StageState, node: Node) -> None:
        """Make a layer of the named context that a stage begins with."""
        files = state.step
        state.step = self.builder.add(Scratch(), (), StepMeta("FROM scratch", platform=state.platform))
        op = CopyOp((path_source("/", 1, parents=False),), "/")
        title = f"FROM {node.base_text}"
        state.total += 1
        written = node.stage.base.text if node.stage is not None else title
        state.add_step(op, (files,), title, written, node.span, self.context)
        state.history.append(History(created_by=title, comment="buildkit.exporter.image.v0"))

    def _source_of(self, node: Node) -> FromSource:
        if not node.done or node.state is None:
            return FromSource(None)
        step = node.state.step
        op = self.builder.step(step).op
        return FromSource(step, is_image=not isinstance(op, Context), is_scratch=isinstance(op, Scratch))

    def graph(self) -> Graph:
        """Return the graph with the image of the target."""
        state = self.plan.target.state
        if state is None:
            raise DockerfileError("the target stage was not built", span=self.plan.target.span)
        if isinstance(self.builder.step(state.step).op, Context):
            self._lay_context(state, self.plan.target)
        if not self.options.dialect.labels_yield:
            state.labels.update(self.options.labels)
        platform = state.image_platform
        if self.options.platform_requested:
            wanted = self.options.platform
            same = (platform.os, platform.architecture) == (wanted.os, wanted.architecture)
            platform = Platform(
                wanted.os,
                wanted.architecture,
                wanted.variant or (platform.variant if same else ""),
                wanted.os_version or (platform.os_version if same else ""),
            )
        plan = ImagePlan(
            step=state.step,
            platform=normalize(platform.os, platform.architecture, platform.variant, platform.os_version),
            runtime=state.runtime(),
            history=tuple(state.history),
            author=valid_text(state.author),
            base_name=state.base_name,
            base_digest=state.base_digest,
            source_date_epoch=self.plan.epoch,
            base_s=state.base_s,
        )
        return self.builder.graph((plan,))


def _onbuild_hint(text: str) -> str:
    return f"the base says so: `ONBUILD {valid_text(text.strip().partition(chr(10))[0])}`"


def _count_steps(node: Node) -> int:
    return sum(command.instruction.keyword in _STEPS for command in node.commands)


def _fitting_history(history: tuple[History, ...], layers: int) -> list[History]:
    """Return the history with exactly one line for each layer. Mirrors: normalizeLayersAndHistory."""
    lines = list(history)
    surplus = sum(not line.empty_layer for line in lines) - layers
    for index, line in enumerate(lines):
        if surplus > 0 and not line.empty_layer:
            lines[index] = msgspec.structs.replace(line, empty_layer=True)
            surplus -= 1
    lines += [History(comment="buildkit.exporter.image.v0")] * -surplus
    return lines



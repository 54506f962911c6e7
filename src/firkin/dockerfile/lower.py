"""From a syntax tree to a graph: select the stages in use, resolve their bases, fold them. Pure.

What lies outside the text (images, named contexts) comes through a Resolver. build, lint and the
command line import it. Mirrors: buildkit dockerfile2llb convert.go (toDispatchState).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from firkin.dockerfile.flags import mount_from
from firkin.dockerfile.gotext import valid_text
from firkin.dockerfile.instructions import TABLE
from firkin.dockerfile.instructions.copy import Copy
from firkin.dockerfile.instructions.onbuild import OnBuild
from firkin.dockerfile.instructions.run import Run
from firkin.dockerfile.instructions.transfer import path_source
from firkin.dockerfile.parse import parse_onbuild
from firkin.dockerfile.state import (
    PROXY_NAMES,
    BaseImage,
    LowerContext,
    LowerOptions,
    NamedContext,
    Resolver,
    Source,
    StageState,
    Warn,
)
from firkin.dockerfile.syntax import Arg, Dockerfile, Instruction, Stage
from firkin.dockerfile.words import Expanded, Lexer, nearest, quote
from firkin.errors import DockerfileError, FirkinError, UsageError
from firkin.graph.ops import Context, Pull, Scratch
from firkin.graph.ops import Copy as CopyOp
from firkin.graph.step import Graph, GraphBuilder, ImagePlan, StepMeta
from firkin.oci.config import History
from firkin.oci.platform import Platform, normalize, parse_platform
from firkin.oci.reference import parse_reference
from firkin.request import BuildRequest
from firkin.source import Span

__all__ = ["BaseImage", "LowerOptions", "NamedContext", "Resolver", "list_images", "lower", "options_of"]

SCRATCH = "scratch"
_RESERVED = ("scratch", "context")  # no named context replaces these
_STEPS = ("add", "copy", "run", "workdir")
_COMMON_IMAGES = ("alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora")
_EPOCH = "SOURCE_DATE_EPOCH"
_GLOBAL_NAMES = frozenset(
    "BUILDPLATFORM BUILDOS BUILDOSVERSION BUILDARCH BUILDVARIANT TARGETPLATFORM TARGETOS TARGETOSVERSION TARGETARCH "
    f"TARGETVARIANT TARGETSTAGE {_EPOCH}".split()
)


def options_of(request: BuildRequest, platform: Platform | None, host: Platform) -> LowerOptions:
    """Return what of a request matters for one platform (None: the host's)."""
    return LowerOptions(
        platform=platform or host,
        build_platform=host,
        platform_requested=bool(request.platforms),
        build_args=request.build_args,
        proxy_args=request.proxy_args,
        labels=request.labels,
        target=request.target,
        contexts=tuple(name for name, _ in request.build_contexts),
        no_cache=request.no_cache,
        no_cache_filter=request.no_cache_filter,
        source_date_epoch=request.source_date_epoch,
        allow=frozenset(request.allow),
        network=request.run.network,
    )


def list_images(dockerfile: Dockerfile, options: LowerOptions) -> tuple[tuple[str, Platform], ...]:
    """Return the images (canonical names) that the stages in use begin with or copy from.

    Those that ONBUILD triggers of images ask for are not known yet. Raises DockerfileError.
    """
    plan = _Plan(dockerfile, options, _ignore)
    found: dict[tuple[str, Platform], None] = {}
    for node in plan.reachable():
        if node.base is None and not node.is_scratch and not node.context:
            if plan.context_for(node.canonical()) is None:
                found[node.canonical(), node.platform or options.platform] = None
    return tuple(found)


def lower(dockerfile: Dockerfile, options: LowerOptions, resolver: Resolver, warn: Warn) -> Graph:
    """Return the graph of the target stage's image.

    Raises DockerfileError at the instruction, and what the resolver raises.
    """
    plan = _Plan(dockerfile, options, warn)
    plan.warn_unused_arguments()
    lowering = _Lowering(plan, resolver)
    lowering.resolve()
    lowering.fold()
    return lowering.graph()


def _ignore(code: str, message: str, span: Span | None) -> None:
    """Take a warning that is given again when the file is lowered."""


class _Command:
    """An instruction with what its --from and from= name, per mount for RUN."""

    __slots__ = ("from_onbuild", "instruction", "sources")

    def __init__(self, instruction: Instruction, sources: tuple[_Node | None, ...], from_onbuild: bool) -> None:
        self.instruction = instruction
        self.sources = sources
        self.from_onbuild = from_onbuild


class _Node:
    """A stage, or an image that is only copied from (`stage` None). Mirrors: dispatchState."""

    __slots__ = (
        "base", "base_text", "commands", "context", "done", "image", "name", "onbuild_read", "platform", "resolved",
        "shown", "span", "stage", "state", "used_arguments",
    )  # fmt: skip

    def __init__(self, base_text: str, stage: Stage | None, span: Span) -> None:
        self.base_text = base_text  # expanded
        self.stage = stage
        self.span = span
        self.name = stage.name if stage else ""
        self.shown = ""
        self.platform: Platform | None = None
        self.base: _Node | None = None
        self.context = ""  # the named context that stands for the whole stage
        self.commands: list[_Command] = []
        self.image: BaseImage | None = None
        self.state: StageState | None = None
        self.done = False  # can be copied from
        self.resolved = False
        self.onbuild_read = False

    @property
    def is_scratch(self) -> bool:
        return self.base_text == SCRATCH and not self.context

    def canonical(self) -> str:
        """Return the image's full name; raises DockerfileError where it cannot be one."""
        try:
            return str(parse_reference(self.base_text))
        except ValueError as error:
            raise DockerfileError(
                f"failed to parse stage name {quote(self.base_text)}: {error}", span=self.span
            ) from None

    def dependencies(self) -> list[tuple[_Node, Span]]:
        return [
            (source, command.instruction.span)
            for command in self.commands
            for source in command.sources
            if source is not None
        ]


class _Plan:
    """The stages and what depends on what, before anything is resolved."""

    def __init__(self, dockerfile: Dockerfile, options: LowerOptions, warn: Warn) -> None:
        self.dockerfile = dockerfile
        self.options = options
        self.warn: Warn = lambda code, message, span: warn(code, valid_text(message), span)
        self.escape = dockerfile.directives.escape
        self.lexer = Lexer(self.escape)
        self.arguments = options.arguments
        self.contexts = {_context_key(name): name for name in options.contexts}
        target = options.target or dockerfile.stages[-1].name
        defaults = _platform_arguments(options, target)
        self._warn_default_bases(defaults)
        self.global_args = self._global_arguments(defaults, self.arguments)
        self.epoch = self._epoch()
        self.nodes: list[_Node] = []
        self.by_name: dict[str, _Node] = {}
        for stage in dockerfile.stages:
            self._add_stage(stage)
        self.target = self._find_target()
        for node in list(self.nodes):
            if node.stage is not None:
                for instruction in node.stage.instructions:
                    node.commands.append(self.command(instruction, from_onbuild=False))
        self._refuse_cycles()
        if len(self.nodes) == 1:
            self.nodes[0].shown = ""

    def _global_arguments(self, known: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
        """Return the arguments that FROM sees. Mirrors: buildMetaArgs."""
        values = dict(known)
        for instruction in self.dockerfile.args:
            for item in instruction.items:
                value = given.get(item.name)
                if value is None and item.default is not None:
                    value = self._expand(item.default, values, instruction.span).text
                if value is not None:
                    values[item.name] = value
        return values

    def _expand(self, text: str, values: Mapping[str, str], span: Span) -> Expanded:
        try:
            return self.lexer.expand(text, values)
        except ValueError as error:
            raise DockerfileError(str(error), span=span) from None

    def _warn_default_bases(self, defaults: Mapping[str, str]) -> None:
        """Warn of a FROM that works only when build arguments are given."""
        try:
            values = self._global_arguments(defaults, {})
            for stage in self.dockerfile.stages:
                name = self._expand(stage.base.image, values, stage.base.span).text
                try:
                    parse_reference(name)
                except ValueError:
                    self.warn(
                        "InvalidDefaultArgInFrom",
                        f"Default value for ARG {stage.base.image} results in empty or invalid base image name",
                        stage.base.span,
                    )
        except DockerfileError:
            return  # the same error is raised where the values count

    def _epoch(self) -> int | None:
        text = self.arguments.get(_EPOCH)
        if text is None:
            if self.options.source_date_epoch is not None:
                return self.options.source_date_epoch
            text = self.global_args.get(_EPOCH, "")
        if not text:
            return None
        digits = text[1:] if text[0] in "+-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            if text == "context":  # a directory has no time of its own
                return None
            raise UsageError(f"invalid SOURCE_DATE_EPOCH: {text}")
        return int(text)

    def _add_stage(self, stage: Stage) -> None:
        base = stage.base
        expanded = self._expand(base.image, self.global_args, base.span)
        self._warn_undeclared(expanded.unmatched, base.span)
        if not expanded.text:
            raise DockerfileError(f"base name ({base.image}) should not be blank", span=base.span)
        node = _Node(expanded.text, stage, base.span)
        if base.platform:
            node.platform = self._platform(stage)
        if node.name and node.name not in _RESERVED:
            node.context = self.context_for(node.name) or ""
        node.shown = node.name or f"stage-{stage.index}"
        self.register(node)
        if node.context:
            node.base = None

    def _warn_undeclared(self, unmatched: frozenset[str], span: Span) -> None:
        declared = {item.name for instruction in self.dockerfile.args for item in instruction.items}
        known = sorted(declared | set(self.global_args))
        for name in sorted(unmatched - declared):
            match = nearest(name, known)
            hint = f" (did you mean {match}?)" if match else ""
            self.warn("UndefinedArgInFrom", f"FROM argument '{name}' is not declared{hint}", span)

    def _platform(self, stage: Stage) -> Platform:
        base = stage.base
        expanded = self._expand(base.platform, self.global_args, base.span)
        self._warn_undeclared(expanded.unmatched, base.span)
        target = self.global_args.get("TARGETPLATFORM")
        if expanded.used == {"TARGETPLATFORM"} and not expanded.unmatched and expanded.text == target:
            self.warn(
                "RedundantTargetPlatform",
                f"Setting platform to predefined {base.platform} in FROM is redundant as this is the default behavior",
                base.span,
            )
        match = next(filter(None, (nearest(name, self.global_args) for name in expanded.unmatched)), None)
        hints = (f"did you mean `{match}`?",) if match else ()
        if not expanded.text:
            raise DockerfileError(
                f"empty platform value from expression {base.platform}", hints=hints, span=base.span
            )
        try:
            platform = parse_platform(expanded.text, self.options.build_platform)
        except ValueError as error:
            raise DockerfileError(
                f"failed to parse platform {base.platform}: {error}", hints=hints, span=base.span
            ) from None
        if not expanded.used and not expanded.unmatched:
            if platform.os not in stage.name and platform.architecture not in stage.name:
                self.warn(
                    "FromPlatformFlagConstDisallowed",
                    f"FROM --platform flag should not use constant value {quote(expanded.text)}",
                    base.span,
                )
        return platform

    def register(self, node: _Node) -> None:
        """Add a stage; an earlier one of the name is its base, and a later one takes over the name."""
        self.nodes.append(node)
        node.base = self.by_name.get(node.base_text)
        if node.name:
            self.by_name[node.name] = node

    def context_for(self, name: str) -> str | None:
        """Return the name under which --build-context replaces an image or a stage, if it does."""
        if name.lower() in _RESERVED:
            return None
        return self.contexts.get(_context_key(name))

    def _find_target(self) -> _Node:
        wanted = self.options.target
        if not wanted:
            return self.nodes[-1]
        node = self.by_name.get(wanted.lower())
        if node is None:
            match = nearest(wanted, self.stage_names())
            raise UsageError(
                f"target stage {quote(wanted)} could not be found" + (f" (did you mean {match}?)" if match else ""),
                hints=(f"the stages are: {', '.join(f'`{name}`' for name in self.by_name)}",) if self.by_name else (),
            )
        return node

    def stage_names(self) -> list[str]:
        return [node.shown for node in self.nodes if node.shown]

    def command(self, instruction: Instruction, from_onbuild: bool) -> _Command:
        """Join an instruction with the stages that it takes files from. Mirrors: toCommand."""
        sources: tuple[_Node | None, ...] = ()
        if isinstance(instruction, Copy) and instruction.from_:
            sources = (self._source(instruction.from_, instruction.span, numbered=True),)
        elif isinstance(instruction, Run) and instruction.mounts:
            sources = tuple(
                self._source(name, instruction.span, numbered=False) if name else None
                for name in (mount_from(text, instruction.span) for text in instruction.mounts)
            )
        return _Command(instruction, sources, from_onbuild)

    def _source(self, name: str, span: Span, numbered: bool) -> _Node:
        """Find a stage by name or number; anything else is an image. A number in from= is a name."""
        if numbered:
            try:
                unexpanded = self.lexer.expand(name, {}).text == name
            except ValueError as error:
                raise DockerfileError(str(error), span=span) from None
            if not unexpanded:
                raise DockerfileError(
                    "variable expansion is not supported for --from, define a new stage with FROM using ARG from "
                    "global scope as a workaround",
                    span=span,
                )
            digits = name[1:] if name[0] in "+-" else name
            if digits.isascii() and digits.isdigit():
                index = int(name) if len(digits) < 10 else len(self.nodes)
                if not 0 <= index < len(self.nodes):
                    raise DockerfileError(
                        f"invalid stage index {name}",
                        hints=(f"the file has {len(self.dockerfile.stages)} stages, counted from 0",),
                        span=span,
                    )
                return self.nodes[index]
        node = self.by_name.get(name.lower())
        if node is None:
            node = _Node(name, None, span)
            self.register(node)
        return node

    def _refuse_cycles(self) -> None:
        """Refuse stages that need each other; without recursion, since chains may be long."""
        visited: set[_Node] = set()
        for root in self.nodes:
            path: set[_Node] = set()
            stack = [(root, iter(root.dependencies()))] if root not in visited else []
            while stack:
                node, rest = stack[-1]
                if node not in path:
                    visited.add(node)
                    path.add(node)
                for found, span in rest:
                    if found in path:
                        raise DockerfileError(
                            f"circular dependency detected on stage: {root.shown or root.base_text}", span=span
                        )
                    if found not in visited:
                        stack.append((found, iter(found.dependencies())))
                        break
                else:
                    path.discard(node)
                    stack.pop()

    def reachable(self) -> list[_Node]:
        """Return the stages that the target needs (itself included), in the order of the file."""
        if self.options.all_stages:
            return list(self.nodes)
        found = {self.target}
        stack = [self.target]
        while stack:
            node = stack.pop()
            for other in ([node.base] if node.base else []) + [needed for needed, _ in node.dependencies()]:
                if other not in found:
                    found.add(other)
                    stack.append(other)
        return [node for node in self.nodes if node in found]

    def warn_unused_arguments(self) -> None:
        """Warn of build arguments that nothing in the file declares."""
        declared = {item.name for instruction in self.dockerfile.args for item in instruction.items}
        for stage in self.dockerfile.stages:
            for instruction in stage.instructions:
                if isinstance(instruction, Arg):
                    declared.update(item.name for item in instruction.items)
                elif isinstance(instruction, OnBuild):
                    declared.update(_onbuild_arguments(instruction.trigger))
        unused = [
            name
            for name, _ in self.options.build_args
            if name not in declared
            and name not in _GLOBAL_NAMES
            and name.upper() not in PROXY_NAMES
            and not name.startswith("BUILDKIT_")
        ]
        if unused:
            matches = ((name, nearest(name, declared)) for name in unused)
            hint = "".join(f"; did you mean {match} for {name}?" for name, match in matches if match)
            self.warn(
                "UnusedBuildArgs",
                f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed{hint}",
                None,
            )


def _onbuild_arguments(trigger: str) -> list[str]:
    words = trigger.split()
    if not words or words[0].upper() != "ARG":
        return []
    return [word.partition("=")[0] for word in words[1:]]


def _context_key(name: str) -> str:
    """Return the spelling under which named contexts are looked up: familiar, without `:latest`."""
    try:
        return parse_reference(name).familiar.removesuffix(":latest")
    except ValueError:
        return name


def _platform_arguments(options: LowerOptions, target: str) -> dict[str, str]:
    """Return the automatic arguments; empty ones do not exist. Mirrors: defaultArgs."""
    build, wanted = options.build_platform, options.platform
    values = {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.os,
        "BUILDOSVERSION": build.os_version,
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(wanted),
        "TARGETOS": wanted.os,
        "TARGETOSVERSION": wanted.os_version,
        "TARGETARCH": wanted.architecture,
        "TARGETVARIANT": wanted.variant,
        "TARGETSTAGE": target or "default",
    }
    given = options.arguments
    return {name: given.get(name, value) for name, value in values.items() if given.get(name, value)}


class _Lowering:
    """Resolves the bases of the stages in use and folds their instructions."""

    def __init__(self, plan: _Plan, resolver: Resolver) -> None:
        self.plan = plan
        self.options = plan.options
        self.resolver = resolver
        self.builder = GraphBuilder()
        self.context = LowerContext(plan.options, self.builder, plan.escape, plan.global_args, plan.warn)
        if plan.epoch is not None and _EPOCH in self.context.arguments:
            self.context.arguments[_EPOCH] = str(plan.epoch)

    def resolve(self) -> None:
        """Resolve what is in use, and again while ONBUILD triggers bring in more."""
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

    def _resolve_base(self, node: _Node, used: bool) -> None:
        if not used:
            if not node.is_scratch and not node.context:
                node.canonical()  # an impossible name is an error even where it is not used
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

    def _image_state(self, node: _Node, platform: Platform) -> StageState:
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

    def _check_platform(self, node: _Node, image: BaseImage, wanted: Platform) -> None:
        actual = image.config.platform
        if node.platform is None and not self.options.platform_requested:
            return
        if (actual.os, actual.architecture) != (wanted.os, wanted.architecture):
            self.plan.warn(
                "InvalidBaseImagePlatform",
                f"Base image {node.base_text} was pulled with platform {quote(str(actual))}, "
                f"expected {quote(str(wanted))} for current build",
                node.span,
            )

    def _state_of(self, image: BaseImage, platform: Platform, node: _Node) -> StageState:
        title = f"FROM {image.name}"
        if image.digest and "@" not in title:
            title += f"@{image.digest}"
        total = 1 + _count_steps(node)
        meta = StepMeta(title, node.shown, 1, total, node.span, platform=platform)
        if image.layers:
            step = self.builder.add(Pull(image.origin, platform, image.layers), (), meta)
        else:
            step = self.builder.add(Scratch(), (), meta)
        config, runtime = image.config, image.config.runtime
        return StageState(
            name=node.shown,
            platform=platform,
            image_platform=config.platform,
            step=step,
            env={},
            image_env=list(runtime.env),
            history=_fitting_history(config.history, len(image.layers)),
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
            author=config.author,
            base_name=image.name,
            base_digest=image.digest,
            number=1,
            total=total,
        )

    def _named_state(
        self, name: str, named: NamedContext, platform: Platform, node: _Node
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

    def _read_onbuild(self, node: _Node) -> bool:
        """Put the base's triggers before the stage's own instructions; True when they need other stages."""
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
        commands = [
            self.plan.command(parse_onbuild(trigger, node.span), from_onbuild=True) for trigger in triggers
        ]
        node.commands[:0] = commands
        return any(source for command in commands for source in command.sources)

    def fold(self) -> None:
        """Fold the stages in use, in order, so that each finds its base and sources done."""
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
                row = TABLE[command.instruction.keyword]
                row.lower(command.instruction, state, self.context)
            node.done = True

    def _start(self, node: _Node) -> StageState:
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
        node.state = state
        return state

    def _lay_context(self, state: StageState, node: _Node) -> None:
        """Make a layer of the directory that a stage begins with."""
        files = state.step
        state.step = self.builder.add(Scratch(), (), StepMeta("FROM scratch", platform=state.platform))
        op = CopyOp((path_source("/", 1, parents=False),), "/")
        state.total += 1
        state.add_step(op, (files,), f"FROM {node.base_text}", node.span, self.context)
        state.history.append(History(created_by=f"FROM {node.base_text}", comment="buildkit.exporter.image.v0"))

    def _source_of(self, node: _Node) -> Source:
        if not node.done or node.state is None:
            return Source(None)
        step = node.state.step
        op = self.builder.step(step).op
        return Source(step, is_image=not isinstance(op, Context), is_scratch=isinstance(op, Scratch))

    def graph(self) -> Graph:
        """Return the graph with the image of the target."""
        state = self.plan.target.state
        if state is None:
            raise DockerfileError("the target stage was not built", span=self.plan.target.span)
        if isinstance(self.builder.step(state.step).op, Context):
            self._lay_context(state, self.plan.target)
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
        )
        return self.builder.graph((plan,))


def _count_steps(node: _Node) -> int:
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



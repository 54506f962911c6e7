"""The stages of a file and their dependencies, before images are resolved. Pure.

Only `lower`, `outline` and the two `epoch` modules import it.

Mirrors: buildkit dockerfile2llb convert.go (buildDispatchStates, resolveTarget, buildStageDependencyGraph).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from firkin.builder.dockerfile.flags import mount_from
from firkin.builder.dockerfile.instructions.copy import Copy
from firkin.builder.dockerfile.instructions.onbuild import OnBuild
from firkin.builder.dockerfile.instructions.run import Run
from firkin.builder.dockerfile.state import PROXY_NAMES, BaseImage, LowerOptions, StageState, Warn
from firkin.builder.dockerfile.syntax import Arg, Dockerfile, Instruction, Stage
from firkin.builder.dockerfile.words import Expanded, Lexer, quote
from firkin.errors import DockerfileError, UsageError
from firkin.hints import Hint
from firkin.oci.platform import Platform, parse_platform
from firkin.oci.reference import parse_reference
from firkin.source import Span
from firkin.text import FIRST_S, LATEST_S, hide_passwords, nearest, valid_text

EPOCH = "SOURCE_DATE_EPOCH"
SCRATCH = "scratch"
_RESERVED = ("scratch", "context")  # no named context replaces these
_GLOBAL_NAMES = frozenset(
    "BUILDPLATFORM BUILDOS BUILDOSVERSION BUILDARCH BUILDVARIANT TARGETPLATFORM TARGETOS TARGETOSVERSION TARGETARCH "
    f"TARGETVARIANT TARGETSTAGE {EPOCH}".split()
)


class Command:
    """An instruction with the stages or images that its --from and from= name, one for each mount of RUN."""

    __slots__ = ("from_onbuild", "instruction", "sources")

    def __init__(self, instruction: Instruction, sources: tuple[Node | None, ...], from_onbuild: bool) -> None:
        self.instruction = instruction
        self.sources = sources
        self.from_onbuild = from_onbuild


class Node:
    """A stage, or an image that other stages only copy from (`stage` is None). Mirrors: dispatchState."""

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
        self.base: Node | None = None
        self.context = ""  # the named context that replaces the whole stage
        self.commands: list[Command] = []
        self.image: BaseImage | None = None
        self.state: StageState | None = None
        self.done = False  # lowered, so other stages can copy from it
        self.resolved = False
        self.onbuild_read = False

    @property
    def is_scratch(self) -> bool:
        return self.base_text == SCRATCH and not self.context

    def canonical(self) -> str:
        """Return the image's full name; raises DockerfileError for an invalid name."""
        try:
            return str(parse_reference(self.base_text))
        except ValueError as error:
            raise DockerfileError(
                f"failed to parse stage name {quote(self.base_text)}: {error}", span=self.span
            ) from None

    def dependencies(self) -> list[tuple[Node, Span]]:
        return [
            (source, command.instruction.span)
            for command in self.commands
            for source in command.sources
            if source is not None
        ]


class Plan:
    """The stages and their dependencies, before images are resolved."""

    def __init__(self, dockerfile: Dockerfile, options: LowerOptions, warn: Warn) -> None:
        self.dockerfile = dockerfile
        self.options = options
        self.warn: Warn = lambda code, message, span: warn(code, hide_passwords(valid_text(message)), span)
        self.escape = dockerfile.directives.escape
        self.lexer = Lexer(self.escape)
        self.arguments = options.arguments
        self.contexts = {_context_key(name): name for name in options.contexts}
        target = options.target or dockerfile.stages[-1].name
        defaults = _platform_arguments(options, target)
        self._warn_default_bases(defaults)
        self.global_args = self._global_arguments(defaults, self.arguments)
        self.epoch_name = ""  # the value of SOURCE_DATE_EPOCH, if it is not a number
        self.epoch = self._epoch()
        if self.epoch is None:
            self.arguments.pop(EPOCH, None)
            self.global_args.pop(EPOCH, None)
        elif self.epoch_name and EPOCH in self.global_args:
            self.global_args[EPOCH] = str(self.epoch)
        self.nodes: list[Node] = []
        self.by_name: dict[str, Node] = {}
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
        """Return the arguments that FROM can use. Mirrors: buildMetaArgs."""
        values = dict(known)
        for instruction in self.dockerfile.args:
            for item in instruction.items:
                value = given.get(item.name)
                unset = value is None or (not value and self.options.dialect.loose_from)
                if unset and item.default is not None:
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
        """Warn of a FROM that works only with build arguments."""
        try:
            values = self._global_arguments(defaults, {})
            stages = {stage.name for stage in self.dockerfile.stages} if self.options.dialect.loose_from else ()
            for stage in self.dockerfile.stages:
                name = self._expand(stage.base.image, values, stage.base.span).text
                if name.lower() in stages:
                    continue
                try:
                    parse_reference(name)
                except ValueError:
                    self.warn(
                        "InvalidDefaultArgInFrom",
                        f"Default value for ARG {stage.base.image} results in empty or invalid base image name",
                        stage.base.span,
                    )
        except DockerfileError:
            return  # the same error is raised when the values are used

    def _epoch(self) -> int | None:
        text = self.arguments.get(EPOCH)
        if text is None:
            if self.options.source_date_epoch is not None:
                return self.options.source_date_epoch
            text = self.global_args.get(EPOCH, "")
        if not text:
            return None
        digits = text[1:] if text[0] in "+-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            self._check_epoch_name(text)
            self.epoch_name = text
            return self.options.named_epoch
        if not FIRST_S <= int(text) <= LATEST_S:
            raise UsageError(f"invalid SOURCE_DATE_EPOCH: {text}: year outside of range [0,9999]")
        return int(text)

    def _check_epoch_name(self, text: str) -> None:
        stages = [stage.name for stage in self.dockerfile.stages if stage.name]
        if text != "context" and self.context_for(text) is None and text.lower() not in stages:
            hint = "write seconds since 1970, `context`, or the name of a stage or named context"
            raise UsageError(f"invalid SOURCE_DATE_EPOCH: {text}", hints=(hint,))

    def _add_stage(self, stage: Stage) -> None:
        base = stage.base
        expanded = self._expand(base.image, self.global_args, base.span)
        self._warn_undeclared(expanded.unmatched, base.span)
        if not expanded.text:
            names = sorted(expanded.used | expanded.unmatched)
            missing = tuple(Hint.of("build-arg", name=name) for name in names)
            raise DockerfileError(f"base name ({base.image}) should not be blank", hints=missing, span=base.span)
        node = Node(expanded.text, stage, base.span)
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

    def register(self, node: Node) -> None:
        """Add a stage. Its base may be an earlier stage; its name replaces an earlier stage of the same name."""
        self.nodes.append(node)
        node.base = self.by_name.get(node.base_text.lower() if self.options.dialect.loose_from else node.base_text)
        if node.name:
            self.by_name[node.name] = node

    def context_for(self, name: str) -> str | None:
        """Return the named context that replaces an image or a stage, None if there is none."""
        if name.lower() in _RESERVED:
            return None
        return self.contexts.get(_context_key(name))

    def _find_target(self) -> Node:
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

    def command(self, instruction: Instruction, from_onbuild: bool) -> Command:
        """Return an instruction with the stages that it copies or mounts from. Mirrors: toCommand."""
        sources: tuple[Node | None, ...] = ()
        if isinstance(instruction, Copy) and instruction.from_:
            sources = (self._source(instruction.from_, instruction.span, numbered=True),)
        elif isinstance(instruction, Run) and instruction.mounts:
            sources = tuple(
                self._source(name, instruction.span, numbered=False) if name else None
                for name in (mount_from(text, instruction.span) for text in instruction.mounts)
            )
        return Command(instruction, sources, from_onbuild)

    def _source(self, name: str, span: Span, numbered: bool) -> Node:
        """Find a stage by name or number; any other name is an image. In from= a number is a name."""
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
                        hints=(self._numbers_of_stages(),),
                        span=span,
                    )
                return self.nodes[index]
        node = self.by_name.get(name.lower())
        if node is None:
            node = Node(name, None, span)
            self.register(node)
        return node

    def _numbers_of_stages(self) -> str:
        last = len(self.dockerfile.stages) - 1
        return f"the stages have the numbers 0 to {last}" if last else "the only stage has the number 0"

    def _refuse_cycles(self) -> None:
        """Refuse cycles of stages. It does not recurse, since chains may be long. Raises DockerfileError."""
        visited: set[Node] = set()
        for root in self.nodes:
            path: set[Node] = set()
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

    def reachable(self) -> list[Node]:
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

    def _declared_arguments(self) -> Iterator[str]:
        for instruction in self.dockerfile.args:
            yield from (item.name for item in instruction.items)
        for stage in self.dockerfile.stages:
            for node in stage.instructions:
                if isinstance(node, Arg):
                    yield from (item.name for item in node.items)
                elif isinstance(node, OnBuild):
                    yield from _onbuild_arguments(node.trigger)

    def warn_unused_arguments(self) -> None:
        """Warn of build arguments that nothing in the file declares."""
        declared = set(self._declared_arguments())
        unused = [name for name, _ in self.options.build_args if name not in declared and not _is_predefined(name)]
        if unused:
            matches = ((name, nearest(name, declared)) for name in unused)
            hint = "".join(f"; did you mean {match} for {name}?" for name, match in matches if match)
            self.warn(
                "UnusedBuildArgs",
                f"One or more build-args [{' '.join(unused)}] were not consumed{hint}",
                None,
            )


def _is_predefined(name: str) -> bool:
    """Say whether a build argument is valid without an ARG."""
    return name in _GLOBAL_NAMES or name.upper() in PROXY_NAMES or name.startswith("BUILDKIT_")


def _onbuild_arguments(trigger: str) -> list[str]:
    words = trigger.split()
    if not words or words[0].upper() != "ARG":
        return []
    return [word.partition("=")[0] for word in words[1:]]


def _context_key(name: str) -> str:
    """Return the spelling that looks up named contexts: familiar, without `:latest`."""
    try:
        return parse_reference(name).familiar.removesuffix(":latest")
    except ValueError:
        return name


def _platform_arguments(options: LowerOptions, target: str) -> dict[str, str]:
    """Return the automatic arguments; on most platforms some are empty. Mirrors: defaultArgs."""
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
    return {name: given.get(name, value) for name, value in values.items()}

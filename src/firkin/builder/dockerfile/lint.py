"""Build checks: their options, the checks that need only the text, and `firkin check`. Pure.

Checks that need variables or base images run while the file is lowered, and report to the same
Warn. build, check and report import this. Mirrors: buildkit frontend/dockerfile/linter and
dockerfile2llb/validations.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.dockerfile.instructions.from_ import casing
from firkin.builder.dockerfile.lower import lower
from firkin.builder.dockerfile.rules import RULES, Rule
from firkin.builder.dockerfile.state import LowerOptions, Resolver, Warn
from firkin.builder.dockerfile.syntax import Arg, Dockerfile, Instruction
from firkin.builder.dockerfile.words import quote
from firkin.builder.graph.ops import Context, Copy, PathSource
from firkin.builder.graph.step import Graph
from firkin.errors import DockerfileError, FirkinError, UsageError
from firkin.source import Span
from firkin.text import nearest, parse_bool

CHECK_ARGUMENT: Final = "BUILDKIT_DOCKERFILE_CHECK"
"""The build argument that replaces the directive `# check=`."""

_FRONTENDS: Final = ("docker/dockerfile", "docker/dockerfile-upstream")
_RESERVED: Final = ("context", "scratch")
_EVERYTHING: Final = ("*", "**", "**/*")


def _rules_of_compat() -> Mapping[str, Rule]:
    """Return the checks for other builders; few builds need them."""
    from firkin.builder.dockerfile.compat import COMPAT_RULES

    return COMPAT_RULES


class CheckOptions(msgspec.Struct, frozen=True):
    """The options in `# check=skip=A,B;error=true;experimental=C`; "all" stands for every rule."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def runs(self, rule: Rule) -> bool:
        """Say whether the rule is on."""
        chosen = self.experimental if rule.experimental else self.skip
        return (rule.name in chosen or "all" in chosen) is rule.experimental

    def merged(self, other: CheckOptions) -> CheckOptions:
        """Return the union of both options; `error` is that of the file."""
        return CheckOptions(self.skip | other.skip, self.experimental | other.experimental, self.error)


def parse_check_options(text: str) -> CheckOptions:
    """Read the value of `# check=`; raises ValueError. Mirrors: ParseLintOptions."""
    chosen: dict[str, frozenset[str]] = {}
    error = False
    for part in filter(None, text.strip().split(";", 2)):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in ("skip", "experimental", "error"):
            match = nearest(key, ("skip", "experimental", "error"))
            hint = f" (did you mean {match}?)" if match else ""
            raise ValueError(f"invalid check option {quote(key if equals else part)}{hint}")
        if key == "error":
            try:
                error = parse_bool(value)
            except ValueError as reason:
                raise ValueError(f"failed to parse check option {quote(part)}: {reason}") from None
        else:
            chosen[key] = frozenset(name.strip() for name in value.split(","))
    return CheckOptions(chosen.get("skip", frozenset()), chosen.get("experimental", frozenset()), error)


class LintWarning(msgspec.Struct, frozen=True):
    """A finding of a check: `message` is about this place, `description` about the rule."""

    rule: str
    message: str
    span: Span | None
    url: str = ""
    description: str = ""


class Checks:
    """The checks of one Dockerfile: a Warn that drops warnings of disabled rules and records all others.

    Warnings that belong to no rule pass through and never count as a violation.
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        report: Warn | None = None,
        override: str | None = None,
        compat: tuple[str, ...] = (),
    ) -> None:
        """Read the options of the file, or of `override` (CHECK_ARGUMENT). Raises FirkinError."""
        self._dockerfile = dockerfile
        self._report = report
        self._compat = compat
        if compat:
            from firkin.builder.dockerfile.compat import COMPAT

            for builder in compat:
                if builder not in COMPAT:
                    raise UsageError(f"no checks for `{builder}`", hints=(f"known: {', '.join(COMPAT)}",))
        self.options = _options_of(dockerfile, override)
        self._local = _local_options(dockerfile)
        self._found: dict[LintWarning, None] = {}
        self._violated: dict[str, None] = {}

    @property
    def warnings(self) -> tuple[LintWarning, ...]:
        """The distinct findings so far, in the order of the lines."""
        return tuple(sorted(self._found, key=lambda found: found.span.start.line if found.span else 0))

    def warn(self, code: str, message: str, span: Span | None) -> None:
        """Record a warning from a check or from lowering, unless its rule is disabled."""
        rule = RULES.get(code) or _rules_of_compat().get(code)
        if rule is not None:
            options = self.options
            if span is not None and span.start.line in self._local:
                options = options.merged(self._local[span.start.line])
            if not options.runs(rule):
                return
            self._violated[code] = None
        found = LintWarning(code, message, span, rule.url if rule else "", rule.description if rule else "")
        if found not in self._found:
            self._found[found] = None
            if self._report is not None:
                self._report(code, message, span)

    def check_syntax(self, *, whole: bool = True) -> None:
        """Run the checks that need only the text, those for other builders included.

        `whole` is False if the file has an error: checks that depend on the text after it are left out.
        """
        for name in sorted((self.options.skip | self.options.experimental) - {"all", *RULES}):
            others = _rules_of_compat()
            if name in others:
                continue
            match = nearest(name, (*RULES, *others))
            hint = f" (did you mean {match}?)" if match else ""
            span = next((span for what, span in self._dockerfile.directives.spans if what == "check"), None)
            self.warn("UnknownCheck", f"no check is called {quote(name)}{hint}", span)
        for check in _SYNTAX_CHECKS + (_WHOLE_CHECKS if whole else ()):
            for code, message, span in check(self._dockerfile):
                self.warn(code, message, span)
        if self._compat:
            from firkin.builder.dockerfile.compat import COMPAT

            for builder in self._compat:
                for code, message, span in COMPAT[builder](self._dockerfile):
                    self.warn(code, message, span)

    def check_copies(self, graph: Graph, ignore: IgnoreMatcher) -> None:
        """Check that no copied path is hidden by the main context's ignore file.

        Mirrors: validateCopySourcePath (which also skips an ignore file with a `!`).
        """
        if not ignore or ignore.negates:
            return
        all_ignored = any(pattern in _EVERYTHING for pattern in ignore.patterns)
        for op, path, span in _copies_of_main_context(graph):
            if all_ignored if not path else ignore.ignored(path):
                verb = "Copy" if op.unpack == "never" else "Add"
                message = f"Attempting to {verb} file {quote(path or '.')} that is excluded by .dockerignore"
                self.warn("CopyIgnoredFile", message, span)

    def violation(self) -> DockerfileError | None:
        """Return the error for the findings if the file says `error=true`, else None. Mirrors: Linter.Error."""
        if not self.options.error or not self._violated:
            return None
        first = next((found.span for found in self.warnings if found.rule in self._violated), None)
        return DockerfileError(
            f"lint violation found for rules: {', '.join(sorted(self._violated))}",
            code="lint",
            hints=("the directive `# check=error=true` makes warnings errors; `skip=RULE` switches a rule off",),
            span=first,
        )


def _copies_of_main_context(graph: Graph) -> Iterator[tuple[Copy, str, Span | None]]:
    """Yield each path that is copied from the main context, with its operation and place."""
    for step in graph.steps:
        op = step.op
        if not isinstance(op, Copy):
            continue
        for source in op.sources:
            if isinstance(source, PathSource):
                origin = graph.steps[step.inputs[source.input]].op
                if isinstance(origin, Context) and not origin.name:
                    yield op, source.path.strip("/"), step.meta.span


class CheckResult(msgspec.Struct, frozen=True):
    """The findings of `firkin check`; `error` says why the file cannot be built, if it cannot."""

    warnings: tuple[LintWarning, ...]
    error: FirkinError | None = None


def check_dockerfile(
    dockerfile: Dockerfile,
    options: LowerOptions,
    resolver: Resolver,
    ignore: IgnoreMatcher | None = None,
    compat: tuple[str, ...] = (),
) -> CheckResult:
    """Run all checks; without a target, unused stages are checked as well.

    An error of lowering (or of the resolver) ends the checks and is part of the result, as is the
    violation that `error=true` asks for. Mirrors: DockerfileLint.
    """
    checks = Checks(dockerfile, override=options.arguments.get(CHECK_ARGUMENT), compat=compat)
    checks.check_syntax()
    try:
        if not options.target:
            options = msgspec.structs.replace(options, all_stages=True)
        graph = lower(dockerfile, options, resolver, checks.warn)
        if ignore is not None:
            checks.check_copies(graph, ignore)
    except UsageError:
        raise  # a wrong option, e.g. an unknown target, is not an error in the file
    except FirkinError as error:
        return CheckResult(checks.warnings, error)
    return CheckResult(checks.warnings, checks.violation())


def check_part(
    dockerfile: Dockerfile, error: FirkinError, options: LowerOptions, compat: tuple[str, ...] = ()
) -> CheckResult:
    """Check the part of a text before an error, the `dockerfile` of parse_partly."""
    checks = Checks(dockerfile, override=options.arguments.get(CHECK_ARGUMENT), compat=compat)
    checks.check_syntax(whole=False)
    return CheckResult(checks.warnings, error)


def _options_of(dockerfile: Dockerfile, override: str | None) -> CheckOptions:
    try:
        return parse_check_options(dockerfile.directives.check if override is None else override)
    except ValueError as error:
        message = f"failed to parse check options: {error}"
        if override is not None:
            raise UsageError(f"build argument {CHECK_ARGUMENT}: {message}") from None
        span = next((span for name, span in dockerfile.directives.spans if name == "check"), None)
        raise DockerfileError(message, span=span) from None


def _instructions(dockerfile: Dockerfile) -> Iterator[Instruction]:
    for stage in dockerfile.stages:
        yield stage.base
        yield from stage.instructions


def _local_options(dockerfile: Dockerfile) -> dict[int, CheckOptions]:
    """Return, by line, the options of `# check=` comments right before an instruction; invalid ones are ignored."""
    found: dict[int, CheckOptions] = {}
    for node in (*dockerfile.args, *_instructions(dockerfile)):
        for comment in node.raw.prev_comment:
            name, equals, value = comment.partition("=")
            if not equals or name.strip().lower() != "check":
                continue
            try:
                options = parse_check_options(value.strip().partition(" ")[0])
            except ValueError:
                break
            found.update(dict.fromkeys(range(node.span.start.line, node.span.end.line + 1), options))
            break
    return found


Finding = tuple[str, str, Span]


def _frontend(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Warn of a `syntax` directive that names another frontend: firkin does not run that image."""
    image = dockerfile.directives.syntax
    name = image.partition("@")[0].removeprefix("docker.io/")
    if image and name.rpartition(":")[0] not in _FRONTENDS and name not in _FRONTENDS:
        span = next(span for what, span in dockerfile.directives.spans if what == "syntax")
        message = f"The frontend {quote(image)} is not used: the file is read as docker/dockerfile has it"
        yield "UnknownFrontend", message, span


def _casing_of_stages(dockerfile: Dockerfile) -> Iterator[Finding]:
    for stage in dockerfile.stages:
        for rule, message in casing(stage.base.raw):
            yield rule, message, stage.base.span


def _names_of_stages(dockerfile: Dockerfile) -> Iterator[Finding]:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        name, span = stage.name, stage.base.span
        if name in _RESERVED:
            message = f"Stage name should not use the same name as reserved stage {quote(name)}"
            yield "ReservedStageName", message, span
        if name and name in seen:
            message = f"Duplicate stage name {quote(name)}, stage names should be unique"
            yield "DuplicateStageName", message, span
        seen.add(name)


def _casing_of_keywords(dockerfile: Dockerfile) -> Iterator[Finding]:
    nodes = list(_instructions(dockerfile))
    lower_count = sum(node.raw.original_keyword == node.keyword for node in nodes)
    upper_count = sum(node.raw.original_keyword == node.keyword.upper() for node in nodes)
    lowercase = lower_count > upper_count
    for node in nodes:
        written = node.raw.original_keyword
        if written != (node.keyword if lowercase else node.keyword.upper()):
            majority = "lowercase" if lowercase else "uppercase"
            message = f"Command '{written}' should match the case of the command majority ({majority})"
            yield "ConsistentInstructionCasing", message, node.span


def _continuations(dockerfile: Dockerfile) -> Iterator[Finding]:
    for warning in dockerfile.warnings:
        yield warning.rule, warning.message, warning.span


def _maintainers(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in _instructions(dockerfile):
        if node.keyword == "maintainer":
            message = "Maintainer instruction is deprecated in favor of using label"
            yield "MaintainerDeprecated", message, node.span


def _descriptions(dockerfile: Dockerfile) -> Iterator[Finding]:
    described: list[tuple[Instruction, list[str]]] = [
        (node, [item.name for item in node.items])
        for node in (*dockerfile.args, *_instructions(dockerfile))
        if isinstance(node, Arg)
    ]
    described += ((stage.base, [stage.name]) for stage in dockerfile.stages if stage.name)
    for node, names in described:
        comments = node.raw.prev_comment
        if comments and comments[-1].split(" ")[0] not in names:
            shown = names[0] if len(names) == 1 else "<arg_key>"
            message = f"Comment for {node.keyword.upper()} should follow the format: `# {shown} <description>`"
            yield "InvalidDefinitionDescription", message, node.span


_SYNTAX_CHECKS: Final[tuple[Callable[[Dockerfile], Iterator[Finding]], ...]] = (
    _frontend,
    _continuations,
    _casing_of_stages,
    _maintainers,
    _descriptions,
)
_WHOLE_CHECKS: Final[tuple[Callable[[Dockerfile], Iterator[Finding]], ...]] = (_names_of_stages, _casing_of_keywords)

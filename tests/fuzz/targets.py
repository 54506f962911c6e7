"""What is fuzzed: the first byte of an input chooses the target, the rest is its text."""

from collections.abc import Callable

from support.lowering import AMD64, FakeResolver, build

from firkin.cli import values
from firkin.dockerfile.flags import check_mount, mount_from, parse_mount
from firkin.dockerfile.giturl import parse_git_url
from firkin.dockerfile.ignore import parse_ignore
from firkin.dockerfile.lint import check_dockerfile
from firkin.dockerfile.lower import LowerOptions
from firkin.dockerfile.outline import list_targets, outline
from firkin.dockerfile.parse import parse, parse_onbuild
from firkin.dockerfile.words import Lexer
from firkin.errors import DockerfileError, FirkinError, RegistryError, UsageError
from firkin.oci.platform import parse_platform
from firkin.oci.reference import parse_reference
from firkin.source import Position, Source, Span, excerpt

HERE = Span("Dockerfile", Position(1), Position(1))


def inside(error: FirkinError, source: Source) -> None:
    """Check that an error points into the text."""
    span = error.span
    assert span is not None and span.name == source.name, "an error without a position"
    assert 1 <= span.start.line <= span.end.line <= source.text.count("\n") + 1, span
    assert excerpt(source, span)


def lowered(text: str) -> None:
    source = Source("Dockerfile", text)
    try:
        build(text, build_args={"A": "a", "B": ""})
    except DockerfileError as error:
        inside(error, source)
    except (RegistryError, UsageError):
        return


def checked(text: str) -> None:
    source = Source("Dockerfile", text)
    options = LowerOptions(platform=AMD64, build_platform=AMD64)
    try:
        dockerfile = parse(source)
    except DockerfileError as error:
        inside(error, source)
        return
    list_targets(dockerfile)
    try:
        result = check_dockerfile(dockerfile, options, FakeResolver(), compat=("kaniko",))
        for warning in result.warnings:
            assert warning.span is None or excerpt(source, warning.span)
        outline(dockerfile, options)
    except DockerfileError as error:
        inside(error, source)
    except UsageError:
        return


def ignored(text: str) -> None:
    source = Source(".dockerignore", text)
    try:
        matcher = parse_ignore(source)
        for path in ("a", "a/b", "a/b.txt", *text.split("\n")[:3]):
            matcher.match(path, 0)
            matcher.may_reinclude(path)
    except DockerfileError as error:
        inside(error, source)


def expanded(text: str) -> None:
    for escape in "\\`":
        for lexer in (Lexer(escape), Lexer(escape)):
            try:
                lexer.expand(text, {"A": "a", "B": "", "x": "/y/z"})
            except ValueError:
                continue


def mounts(text: str) -> None:
    for function in (check_mount, mount_from):
        try:
            function(text, HERE)
        except DockerfileError as error:
            assert error.span == HERE
    try:
        parse_mount(text, lambda value: value, HERE)
    except DockerfileError as error:
        assert error.span == HERE


def triggers(text: str) -> None:
    try:
        parse_onbuild(text, HERE)
    except DockerfileError as error:
        assert error.span == HERE


def names(text: str) -> None:
    for function in (parse_reference, parse_git_url, lambda word: parse_platform(word, AMD64)):
        try:
            function(text)
        except ValueError:
            continue


def options(text: str) -> None:
    functions: tuple[Callable[[str], object], ...] = (
        values.output,
        lambda word: values.cache_ref("--cache-to", word),
        lambda word: values.secret(word, {}),
        lambda word: values.ssh(word, {}),
        values.ulimit,
        values.add_host,
        values.annotation,
        lambda word: values.size_bytes("--shm-size", word),
        lambda word: values.duration_s("--ttl", word),
        lambda word: values.build_args((word,), {}),
    )
    for function in functions:
        try:
            function(text)
        except UsageError:
            continue


TARGETS: tuple[Callable[[str], None], ...] = (
    lowered, checked, ignored, expanded, mounts, triggers, names, options,
)  # fmt: skip


def run(data: bytes) -> None:
    """Feed one input to the target that its first byte chooses."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:].decode("utf-8", "surrogateescape"))

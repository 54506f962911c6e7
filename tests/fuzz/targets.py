"""What is fuzzed: the first byte of an input chooses the target, the rest is its text."""

from collections.abc import Callable

import msgspec
from support.lowering import AMD64, FakeResolver, build
from support.trees import tree

from firkin.builder.copy.owner import find_owner
from firkin.builder.dockerfile.flags import check_mount, mount_from, parse_mount
from firkin.builder.dockerfile.giturl import parse_git_url
from firkin.builder.dockerfile.ignore import parse_ignore
from firkin.builder.dockerfile.lint import check_dockerfile
from firkin.builder.dockerfile.lower import LowerOptions
from firkin.builder.dockerfile.outline import list_targets, outline
from firkin.builder.dockerfile.parse import parse, parse_onbuild
from firkin.builder.dockerfile.report import check_report, outline_report, targets_report
from firkin.builder.dockerfile.words import Lexer
from firkin.builder.graph.key import key_of, op_parts
from firkin.builder.request import BuildRequest, Output, Secret, check_request, encode_request
from firkin.builder.solve.scheduler import vertices_of
from firkin.cli import values
from firkin.cli.outputs import read_output
from firkin.errors import DockerfileError, FirkinError, RegistryError, StepFailed, UsageError
from firkin.events import Event, Planned, Warned, encode_line
from firkin.oci.config import parse_config
from firkin.oci.platform import parse_platform
from firkin.oci.reference import parse_reference
from firkin.oci.run import UserError, resolve_user
from firkin.source import Position, Source, Span, excerpt
from firkin.text import LARGEST_ID
from firkin.worker.messages import Failure, decode_line, failure_of

ACCOUNTS = tree("file /etc/passwd x", "file /etc/group x")
HERE = Span("Dockerfile", Position(1), Position(1))


def told(event: Event | Failure) -> None:
    """Check that what is said of a text can be sent, whatever it quotes."""
    assert decode_line(encode_line(event))


def inside(error: FirkinError, source: Source) -> None:
    """Check that an error points into the text, and can be sent."""
    told(failure_of(error))
    span = error.span
    assert span is not None and span.name == source.name, "an error without a position"
    assert 1 <= span.start.line <= span.end.line <= source.text.count("\n") + 1, span
    assert excerpt(source, span)


def lowered(text: str) -> None:
    source = Source("Dockerfile", text)
    told(Planned(0.0, (), source))
    try:
        found = build(text, build_args={"A": "a", "B": ""})
        told(Planned(0.0, vertices_of(found.graph), source))
        for code, message in found.warnings:
            told(Warned(0.0, code, message))
        for op in found.ops():
            key_of(op_parts(op, AMD64))
        assert parse_config(found.encoded_config()).raw
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
        assert encode_line(check_report(source, result))
        assert encode_line(targets_report(source, list_targets(dockerfile)))
        assert encode_line(outline_report(source, outline(dockerfile, options)))
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
        read_output,
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


def accounts(text: str) -> None:
    """The text is /etc/passwd and /etc/group; its first words are who is looked up there."""
    data = text.encode("utf-8", "surrogateescape")
    words = [word for word in text.replace(":", " ").split()[:3] if "\0" not in word]
    for word in (*words, "0", "1:1"):
        try:
            user = resolve_user(word, data, data)
            assert 0 <= user.uid <= LARGEST_ID and all(0 <= group <= LARGEST_ID for group in (user.gid, *user.groups))
        except UserError:
            pass
        try:
            owner = find_owner(f"{word}:{word}", ACCOUNTS, lambda content: data, lambda code, text: None, "--chown")
            assert 0 <= owner.uid <= LARGEST_ID and 0 <= owner.gid <= LARGEST_ID
        except StepFailed as error:
            told(failure_of(error))


def requests(text: str) -> None:
    """A request with the text everywhere is refused, or can be sent."""
    pairs = ((text, text),)
    whole = BuildRequest(context="/c", store_root="/s", dockerfile_text=text)
    for request in (
        whole,
        msgspec.structs.replace(whole, build_args=pairs, labels=pairs, annotations=pairs),
        msgspec.structs.replace(whole, target=text, tags=(text,), platforms=(text,), secrets=(Secret(text, b""),)),
        msgspec.structs.replace(whole, context=text, outputs=(Output(dest=text),)),
    ):
        try:
            check_request(request)
            encode_request(request)
        except UsageError as error:
            told(failure_of(error))


TARGETS: tuple[Callable[[str], None], ...] = (
    lowered, checked, ignored, expanded, mounts, triggers, names, options, accounts, requests,
)  # fmt: skip


def run(data: bytes) -> None:
    """Feed one input to the target that its first byte chooses."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:].decode("utf-8", "surrogateescape"))

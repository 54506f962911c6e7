from typing import Any

import pytest
from support.lowering import AMD64, FakeResolver

from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.dockerfile.lint import CheckOptions, CheckResult, Checks, check_dockerfile, parse_check_options
from firkin.builder.dockerfile.lower import LowerOptions
from firkin.builder.dockerfile.parse import parse
from firkin.builder.dockerfile.rules import RULES, is_secret_name
from firkin.errors import DockerfileError, UsageError
from firkin.source import Source

ARM = {
    "architecture": "arm64",
    "os": "linux",
    "config": {},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "2" * 64]},
}


def check(
    text: str, ignore: list[str] | None = None, compat: tuple[str, ...] = (), images: Any = None, **options: Any
) -> CheckResult:
    return check_dockerfile(
        parse(Source("Dockerfile", text)),
        LowerOptions(platform=AMD64, build_platform=AMD64, **options),
        FakeResolver(images),
        None if ignore is None else IgnoreMatcher(ignore),
        compat,
    )


def found(text: str, **more: Any) -> list[tuple[str, int, str]]:
    result = check(text, **more)
    assert result.error is None
    return [(w.rule, w.span.start.line if w.span else 0, w.message) for w in result.warnings]


# For each rule a text that it finds wrong (with the line and message), and one that it does not.
CASES = {
    "StageNameCasing": (
        "FROM scratch AS BadName",
        [(1, "Stage name 'BadName' should be lowercase")],
        "FROM scratch AS good",
    ),
    "FromAsCasing": (
        "FROM scratch as a\nFROM scratch As b",
        [
            (1, "'as' and 'FROM' keywords' casing do not match"),
            (2, "'As' and 'FROM' keywords' casing do not match"),
        ],
        "FROM scratch AS a",
    ),
    "NoEmptyContinuation": (
        "FROM busybox\nRUN a \\\n\n  b",
        [(4, "Empty continuation line")],
        "FROM busybox\nRUN a \\\n# note\n  b",
    ),
    "ConsistentInstructionCasing": (
        "FROM busybox\nrun a\nUser b\nRUN c",
        [
            (2, "Command 'run' should match the case of the command majority (uppercase)"),
            (3, "Command 'User' should match the case of the command majority (uppercase)"),
        ],
        "from busybox\nrun a",
    ),
    "DuplicateStageName": (
        "FROM scratch AS a\nFROM scratch AS a",
        [(2, 'Duplicate stage name "a", stage names should be unique')],
        "FROM scratch AS a\nFROM scratch AS b",
    ),
    "ReservedStageName": (
        "FROM scratch AS context",
        [(1, 'Stage name should not use the same name as reserved stage "context"')],
        "FROM scratch AS contexts",
    ),
    "JSONArgsRecommended": (
        "FROM scratch\nCMD a\nENTRYPOINT b",
        [
            (2, "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals"),
            (3, "JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals"),
        ],
        'FROM scratch\nSHELL ["/bin/bash"]\nCMD a',
    ),
    "MaintainerDeprecated": (
        "FROM scratch\nMAINTAINER me",
        [(2, "Maintainer instruction is deprecated in favor of using label")],
        "FROM scratch\nLABEL maintainer=me",
    ),
    "UndefinedArgInFrom": (
        "ARG VERSION=latest\nFROM busybox:${VERSOIN:-latest}",
        [(2, "FROM argument 'VERSOIN' is not declared (did you mean VERSION?)")],
        "ARG VERSION=latest\nFROM busybox:$VERSION",
    ),
    "WorkdirRelativePath": (
        "FROM scratch\nWORKDIR a",
        [(2, 'Relative workdir "a" can have unexpected results if the base image changes')],
        "FROM scratch\nWORKDIR /a\nWORKDIR b",
    ),
    "UndefinedVar": (
        "FROM scratch\nENV NAME=a\nLABEL x=$NAEM y=$Q",
        [
            (3, "Usage of undefined variable '$NAEM' (did you mean $NAME?)"),
            (3, "Usage of undefined variable '$Q'"),
        ],
        "FROM scratch\nARG NAME\nLABEL x=$NAME",
    ),
    "MultipleInstructionsDisallowed": (
        'FROM scratch\nCMD ["a"]\nCMD ["b"]',
        [(2, "Multiple CMD instructions should not be used in the same stage because only the last one will be used")],
        'FROM scratch AS a\nCMD ["a"]\nFROM scratch\nCMD ["b"]',
    ),
    "LegacyKeyValueFormat": (
        "FROM scratch\nENV a b\nLABEL c d",
        [
            (2, '"ENV key=value" should be used instead of legacy "ENV key value" format'),
            (3, '"LABEL key=value" should be used instead of legacy "LABEL key value" format'),
        ],
        "FROM scratch\nENV a=b",
    ),
    "InvalidBaseImagePlatform": (
        "FROM --platform=$BUILDPLATFORM arm",
        [(1, 'Base image arm was pulled with platform "linux/arm64", expected "linux/amd64" for current build')],
        "FROM --platform=$BUILDPLATFORM busybox",
    ),
    "RedundantTargetPlatform": (
        "FROM --platform=${TARGETPLATFORM} busybox",
        [(1, "Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior")],
        "FROM --platform=$BUILDPLATFORM busybox",
    ),
    "SecretsUsedInArgOrEnv": (
        "FROM scratch\nARG API_KEY\nENV DB_PASSWORD=a",
        [
            (2, 'Do not use ARG or ENV instructions for sensitive data (ARG "API_KEY")'),
            (3, 'Do not use ARG or ENV instructions for sensitive data (ENV "DB_PASSWORD")'),
        ],
        "FROM scratch\nARG PUBLIC_KEY\nENV KEYBOARD=a",
    ),
    "InvalidDefaultArgInFrom": (
        "ARG TAG\nFROM busybox:$TAG",
        [(2, "Default value for ARG busybox:$TAG results in empty or invalid base image name")],
        "ARG TAG=latest\nFROM busybox:$TAG",
    ),
    "FromPlatformFlagConstDisallowed": (
        "FROM --platform=linux/amd64 busybox",
        [(1, 'FROM --platform flag should not use constant value "linux/amd64"')],
        "FROM --platform=linux/amd64 busybox AS build-amd64",
    ),
    "CopyIgnoredFile": (
        "FROM scratch\nCOPY ./hidden/a b /\nADD hidden /x",
        [
            (2, 'Attempting to Copy file "hidden/a" that is excluded by .dockerignore'),
            (3, 'Attempting to Add file "hidden" that is excluded by .dockerignore'),
        ],
        "FROM scratch AS a\nCOPY . /\nFROM scratch\nCOPY --from=a hidden /",
    ),
    "InvalidDefinitionDescription": (
        "# check=experimental=all\n# something\nARG a=b\n# Base is it\nFROM scratch AS base\n# x y\nARG c d",
        [
            (3, "Comment for ARG should follow the format: `# a <description>`"),
            (5, "Comment for FROM should follow the format: `# base <description>`"),
            (7, "Comment for ARG should follow the format: `# <arg_key> <description>`"),
        ],
        "# check=experimental=InvalidDefinitionDescription\n# a is a\nARG a=b\n# something\n\nFROM scratch AS base",
    ),
    "ExposeProtoCasing": (
        "FROM scratch\nEXPOSE 80/TCP",
        [(2, "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase")],
        "FROM scratch\nEXPOSE 80/tcp 81",
    ),
    "ExposeInvalidFormat": (
        "FROM scratch\nEXPOSE 127.0.0.1:80:81",
        [(2, "EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:81'")],
        "FROM scratch\nEXPOSE 80-81/udp",
    ),
}


def _options(rule: str) -> dict[str, Any]:
    given = {"TAG": "latest"} if rule == "InvalidDefaultArgInFrom" else {}
    return {
        "images": {"docker.io/library/arm:latest": ARM},
        "ignore": ["hidden"],
        "build_args": tuple(given.items()),
    }


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_what_it_is_for(rule: str) -> None:
    bad, expected, good = CASES[rule]
    assert [(line, text) for name, line, text in found(bad, **_options(rule)) if name == rule] == expected
    assert [text for name, _, text in found(good, **_options(rule)) if name == rule] == []


def test_every_rule_of_buildkit_is_there() -> None:
    assert set(CASES) == set(RULES)
    assert len(RULES) == 22
    assert [rule.name for rule in RULES.values() if rule.experimental] == ["InvalidDefinitionDescription"]
    assert [rule.name for rule in RULES.values() if not rule.url] == ["InvalidBaseImagePlatform"]


def test_a_warning_carries_rule_and_page() -> None:
    (warning,) = check("FROM scratch AS A").warnings
    assert warning.url == "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"
    assert warning.description == "Stage names should be lowercase"


def test_unused_stages_are_checked_unless_a_target_is_named() -> None:
    text = "FROM scratch AS a\nLABEL x=$Q\nFROM scratch AS b\nCOPY --from=a / /"
    both = text.replace("COPY --from=a / /", "")
    assert [line for _, line, _ in found(both)] == [2]
    assert found(both, target="b") == []


def test_skipping() -> None:
    text = "from busybox as Mixed\nMAINTAINER somebody"
    names = {name for name, _, _ in found(text)}
    assert names == {"StageNameCasing", "MaintainerDeprecated", "ConsistentInstructionCasing"}
    assert found("# check=skip=all\n" + text) == []
    left = found("# check=skip=StageNameCasing,ConsistentInstructionCasing\n" + text)
    assert [name for name, _, _ in left] == ["MaintainerDeprecated"]


def test_a_comment_before_an_instruction_skips_for_it_alone() -> None:
    text = "FROM scratch\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n# check=nonsense\nLABEL e f"
    assert [line for _, line, _ in found(text)] == [4, 6]


def test_a_build_argument_replaces_the_directive() -> None:
    text = "# check=skip=all\nFROM scratch AS A"
    assert len(found(text, build_args=(("BUILDKIT_DOCKERFILE_CHECK", "error=false"),))) == 1
    with pytest.raises(UsageError, match="invalid check option"):
        check(text, build_args=(("BUILDKIT_DOCKERFILE_CHECK", "what"),))


def test_violations_are_errors_where_the_file_says_so() -> None:
    error = check("# check=error=true\nFROM scratch AS A\nENV a b").error
    assert error is not None
    assert error.message == "lint violation found for rules: LegacyKeyValueFormat, StageNameCasing"
    assert (error.code, error.span and error.span.start.line) == ("lint", 2)
    assert check("# check=error=true\nFROM scratch").error is None
    assert check("# check=skip=StageNameCasing;error=true\nFROM scratch AS A").error is None


def test_warnings_that_are_no_check_are_no_violation() -> None:
    result = check("# check=error=true;skip=NoSuch,StageNameCasin\nFROM scratch", build_args=(("Q", "1"),))
    assert result.error is None
    assert [(w.rule, w.message) for w in result.warnings] == [
        ("UnusedBuildArgs", "One or more build-args [Q] were not consumed"),
        ("UnknownCheck", 'no check is called "NoSuch"'),
        ("UnknownCheck", 'no check is called "StageNameCasin" (did you mean StageNameCasing?)'),
    ]


def test_an_error_keeps_what_was_found_before_it() -> None:
    result = check("FROM scratch AS A\nEXPOSE what")
    assert [w.rule for w in result.warnings] == ["StageNameCasing"]
    assert isinstance(result.error, DockerfileError) and "invalid containerPort" in result.error.message


def test_copies_of_the_context_itself_and_negation() -> None:
    text = "FROM scratch\nCOPY . /"
    assert found(text, ignore=["a"]) == []
    assert [name for name, _, _ in found(text, ignore=["*"])] == ["CopyIgnoredFile"]
    assert found(text, ignore=["*", "!a"]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", CheckOptions()),
        (" skip=A, B ", CheckOptions(skip=frozenset("AB"))),
        ("skip=all;error=1;experimental=C", CheckOptions(frozenset(["all"]), frozenset("C"), True)),
        ("error=F", CheckOptions()),
    ],
)
def test_check_options(text: str, expected: CheckOptions) -> None:
    assert parse_check_options(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skip", 'invalid check option "skip"'),
        ("skpi=A", 'invalid check option "skpi" (did you mean skip?)'),
        ("error=perhaps", 'failed to parse check option "error=perhaps": `perhaps` is not a boolean'),
    ],
)
def test_check_options_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_check_options(text)
    assert str(caught.value) == message
    with pytest.raises(DockerfileError) as error:
        check(f"# check={text}\nFROM scratch")
    assert str(error.value) == f"Dockerfile:1: failed to parse check options: {message}"


def test_a_build_reports_each_warning_once() -> None:
    said: list[tuple[str, str]] = []
    dockerfile = parse(Source("Dockerfile", "# check=skip=UndefinedVar\nFROM scratch AS A"))
    checks = Checks(dockerfile, lambda code, message, span: said.append((code, message)))
    for _ in range(2):
        checks.check_syntax()
        checks.warn("UndefinedVar", "x", None)
        checks.warn("Other", "y", None)
    assert said == [("StageNameCasing", "Stage name 'A' should be lowercase"), ("Other", "y")]
    assert checks.violation() is None


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("API_KEY", True), ("apikey", True), ("MY_secret_THING", True), ("AUTH", True), ("KEYBOARD", False),
        ("PUBLIC_KEY", False), ("SECRET_FILE", False), ("TOKEN_VERSION", False), ("", False), ("A__TOKEN", True),
    ],
)  # fmt: skip
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


KANIKO = [
    ("# syntax=docker/dockerfile:1\nFROM scratch", "SyntaxIgnored", 1),
    ("# escape=`\nFROM scratch", "EscapeInWords", 1),
    ("FROM --platform=$BUILDPLATFORM busybox", "PlatformIgnored", 1),
    ("FROM busybox\nCOPY --link a /", "FlagIgnored", 2),
    ("FROM busybox\nADD --unpack=true a.tar /", "FlagIgnored", 2),
    ("FROM busybox\nRUN --network=none true", "FlagIgnored", 2),
    ("FROM busybox\nHEALTHCHECK --start-interval=5s CMD true", "FlagIgnored", 2),
    (f"FROM busybox\nADD --checksum=sha256:{'0' * 64} https://x/y /", "ChecksumIgnored", 2),
    ("FROM busybox\nADD https://example.com/a/b.git#main /src", "GitSource", 2),
    ("FROM busybox\nRUN --mount=type=tmpfs,target=/t true", "MountIgnored", 2),
    ("FROM busybox AS a\nFROM busybox\nRUN --mount=from=a,target=/t true", "MountIgnored", 3),
    ("FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked true", "MountOptionIgnored", 2),
    ("FROM busybox\nRUN <<'EOF'\ntrue\nEOF", "HeredocNotRun", 2),
    ("FROM busybox\nRUN <<-EOF\n\ttrue\n\tEOF", "HeredocNotRun", 2),
    ("FROM busybox\nRUN <<EOF\n#!/bin/python\nEOF", "HeredocShell", 2),
    ('FROM busybox\nSHELL ["/bin/bash", "-c"]\nRUN <<EOF\ntrue\nEOF', "HeredocShell", 3),
    ("FROM busybox\nCOPY <<EOF /x\n$HOME\nEOF", "HeredocNotExpanded", 2),
    ("FROM busybox\nUSER app:app\nCOPY a /", "CopyOwner", 3),
    ("FROM busybox\nADD --chown=1:1 a.tar.gz /", "ArchiveOwner", 2),
    ("FROM busybox\nVOLUME /data\nCOPY a /data/a", "VolumeContentLost", 3),
    ("FROM busybox\nVOLUME /data\nRUN touch /data/a", "VolumeContentLost", 3),
    ("FROM busybox\nRUN touch /var/run/x", "PathNotCommitted", 2),
]


@pytest.mark.parametrize(("text", "rule", "line"), KANIKO)
def test_what_kaniko_gets_wrong(text: str, rule: str, line: int) -> None:
    names = [(name, where) for name, where, _ in found(text, compat=("kaniko",))]
    assert (f"Kaniko{rule}", line) in names
    assert not [name for name, _, _ in found(text) if name.startswith("Kaniko")]
    skipped = found(f"# check=skip=Kaniko{rule}\n{text}", compat=("kaniko",))
    assert f"Kaniko{rule}" not in [name for name, _, _ in skipped]


def test_what_kaniko_gets_right_is_not_mentioned() -> None:
    text = """FROM busybox AS a
RUN --mount=type=cache,target=/c --mount=type=secret,id=s true
RUN <<EOF
true
EOF
COPY --chown=1:1 --chmod=755 <<EOF /x
plain
EOF
USER root
COPY a b/ /
ADD a.tar /
VOLUME /data
COPY c /elsewhere/
HEALTHCHECK --interval=5s CMD true
FROM a
COPY --from=a /x /y
"""
    assert found(text, compat=("kaniko",)) == []


def test_other_builders_are_not_known() -> None:
    with pytest.raises(UsageError, match="no checks for `buildha`"):
        check("FROM scratch", compat=("buildha",))


@pytest.mark.parametrize(("syntax", "told"), [
    ("docker/dockerfile:1", False),
    ("docker/dockerfile", False),
    ("docker.io/docker/dockerfile:1.7-labs", False),
    ("docker/dockerfile-upstream:master@sha256:" + "a" * 64, False),
    ("ghcr.io/somebody/dockerfile:2", True),
    ("nix", True),
])  # fmt: skip
def test_frontends_of_others_are_not_used(syntax: str, told: bool) -> None:
    dockerfile = parse(Source("Dockerfile", f"# syntax={syntax}\nFROM busybox\n"))
    options = LowerOptions(platform=AMD64, build_platform=AMD64)
    result = check_dockerfile(dockerfile, options, FakeResolver())
    assert [found.rule for found in result.warnings] == ["UnknownFrontend"] * told

"""Selecting stages, resolving bases, arguments, ONBUILD, named contexts; mirrors BuildKit's results."""

from typing import Any

import pytest
from support.lowering import AMD64, BUSYBOX, PATH, FakeResolver, base_image, build

from firkin.builder.dockerfile.lower import LowerOptions, NamedContext, list_images, options_of
from firkin.builder.dockerfile.parse import parse
from firkin.builder.graph.ops import BindMount, Context, Copy, MakeDir, PathSource, Pull, Run, Scratch
from firkin.builder.request import BuildRequest, Dialect, RunOptions
from firkin.errors import DockerfileError, FirkinError, RegistryError, UsageError
from firkin.hints import Hint
from firkin.oci.platform import Platform
from firkin.source import Source

ARM64 = Platform("linux", "arm64")


def image(**config: Any) -> dict[str, Any]:
    return {**BUSYBOX, "config": {**BUSYBOX["config"], **config}}


def fails(text: str, *parts: str, **options: Any) -> FirkinError:
    with pytest.raises(FirkinError) as caught:
        build(text, **options)
    for part in parts:
        assert part in caught.value.message
    return caught.value


# Stages


def test_unused_stages_are_not_resolved() -> None:
    found = build("FROM nosuch AS a\nRUN false\nFROM busybox\nRUN true")
    assert found.resolver.asked == ["docker.io/library/busybox:latest"]
    assert len(found.ops()) == 1


def test_unused_stage_with_an_impossible_name_is_an_error() -> None:
    fails("FROM NoSuch AS a\nFROM busybox", "failed to parse stage name")


def test_a_stage_number_keeps_the_order_of_the_file() -> None:
    found = build("FROM nosuch AS a\nFROM busybox\nRUN true\nFROM scratch\nCOPY --from=1 /x /y")
    assert isinstance(found.ops()[0], Run)
    assert found.resolver.asked == ["docker.io/library/busybox:latest"]


def test_stage_names_are_found_in_any_case() -> None:
    found = build("FROM busybox AS Build\nRUN true\nFROM scratch\nCOPY --from=BUILD /x /y")
    assert [type(op) for op in found.ops()] == [Run, Copy]


def test_the_last_of_two_stages_of_one_name_is_copied_from() -> None:
    found = build("FROM busybox AS x\nRUN one\nFROM busybox AS x\nRUN two\nFROM scratch\nCOPY --from=x /f /f")
    assert [op.argv[-1] for op in found.ops() if isinstance(op, Run)] == ["two"]


def test_a_long_chain_of_stages_needs_no_recursion() -> None:
    text = "FROM busybox AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\nLABEL l{n}=1\n" for n in range(3000))
    assert len(build(text).runtime.labels) == 3000


def test_ten_thousand_instructions_do_not_take_quadratic_time() -> None:
    lines = [f"ENV v{n}=${{v{n - 1}}}x$undefined{n}\nLABEL l{n}=1\nEXPOSE {n}" for n in range(1, 3333)]
    found = build("FROM busybox\nARG v0=\n" + "\n".join(lines))
    assert len(found.runtime.env) == 3333
    assert len(found.codes) == 3332


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM busybox AS one\nCOPY --from=one /a /b", "circular dependency detected on stage: one"),
        (
            "FROM busybox AS a\nCOPY --from=b /f /f\nFROM busybox AS b\nCOPY --from=a /f /f",
            "circular dependency detected on stage: a",
        ),
        (
            "FROM busybox AS one\nCOPY --from=two /f /f\nFROM busybox AS two\nFROM one",
            'cannot copy from stage "two", it needs to be defined before current stage "one"',
        ),
        (
            "FROM busybox AS one\nRUN --mount=from=two,target=/m true\nFROM busybox AS two\nFROM one",
            'cannot mount from stage "two" to "/m", stage needs to be defined before current command',
        ),
        ("FROM busybox\nCOPY --from=7 /a /b", "invalid stage index 7"),
        ("FROM busybox\nCOPY --from=-1 /a /b", "invalid stage index -1"),
        ("FROM busybox\nCOPY --from=$X /a /b", "variable expansion is not supported for --from"),
    ],
)
def test_sources_that_cannot_be(text: str, message: str) -> None:
    assert fails(text, message).span is not None


def test_a_number_in_a_mount_is_an_image_name() -> None:
    fails("FROM busybox\nRUN --mount=from=0,target=/m true", "docker.io/library/0:latest")


def test_unknown_target_suggests_the_nearest() -> None:
    error = fails("FROM busybox AS builder\nFROM busybox AS final", "builer", "did you mean builder?", target="builer")
    assert isinstance(error, UsageError)


def test_target_stops_at_a_stage() -> None:
    assert len(build("FROM busybox AS one\nRUN a\nFROM one\nRUN b", target="ONE").ops()) == 1


def test_an_unknown_image_suggests_a_stage() -> None:
    error = fails("FROM busybox AS builder\nFROM buildr", "buildr")
    assert isinstance(error, RegistryError)
    assert "did you mean `builder`?" in error.hints
    assert error.span is not None and error.span.start.line == 2


def test_copy_from_scratch_has_nothing_but_is_allowed() -> None:
    found = build("FROM busybox\nCOPY --from=scratch /x* /")
    assert found.only(Scratch) == Scratch()


def test_stage_named_scratch_hides_the_empty_image() -> None:
    assert build("FROM busybox AS scratch\nRUN true\nFROM scratch\nUSER x").runtime.cmd == ("sh",)


# Bases


def test_scratch_gets_a_path_and_a_working_directory() -> None:
    found = build("FROM scratch")
    assert found.runtime.env == (PATH,)
    assert found.runtime.working_dir == "/"
    assert found.plan.base_name == ""


def test_base_without_path_gets_it_last() -> None:
    config = image(Env=["A=1", "ODD"])
    assert build("FROM x", images={"docker.io/library/x:latest": config}).runtime.env == ("A=1", "ODD", PATH)


def test_base_image_is_described() -> None:
    plan = build("FROM busybox:1.35").plan
    assert plan.base_name == "docker.io/library/busybox:1.35"
    assert plan.base_digest.startswith("sha256:")
    assert [line.created_by for line in plan.history] == ["busybox rootfs"]


def test_history_of_a_base_is_made_to_fit_its_layers() -> None:
    few = {**BUSYBOX, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + c * 64 for c in "123"]}}
    many = {**BUSYBOX, "history": [{"created_by": "a"}, {"created_by": "b"}]}
    images = {"docker.io/library/few:latest": few, "docker.io/library/many:latest": many}
    assert sum(not x.empty_layer for x in build("FROM few", images=images).plan.history) == 3
    assert [x.empty_layer for x in build("FROM many", images=images).plan.history] == [True, False]


def test_platform_comes_from_the_base_unless_one_was_asked_for() -> None:
    images = {"docker.io/library/x:latest": {**BUSYBOX, "architecture": "arm64", "variant": "v8"}}
    found = build("FROM x", images=images)
    assert found.plan.platform == ARM64
    assert found.codes == ["InvalidBaseImagePlatform"]
    asked = build("FROM x", images=images, platform=AMD64, platform_requested=True)
    assert asked.plan.platform == AMD64
    assert "InvalidBaseImagePlatform" in asked.codes


def test_platform_arguments() -> None:
    text = "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETPLATFORM TARGETVARIANT BUILDARCH\nRUN true"
    run = build(text, platform=Platform("linux", "arm", "v7"), build_platform=AMD64, platform_requested=True).only(Run)
    assert "TARGETPLATFORM=linux/arm/v7" in run.env
    assert "BUILDARCH=amd64" in run.env
    on_amd64 = build("FROM busybox\nARG TARGETVARIANT\nRUN true").only(Run)
    assert "TARGETVARIANT=" in on_amd64.env


@pytest.mark.parametrize(
    ("flag", "message"),
    [("$NOPE", "empty platform value from expression $NOPE"), ("a/b/c/d", "failed to parse platform a/b/c/d")],
)
def test_bad_platforms(flag: str, message: str) -> None:
    fails(f"FROM --platform={flag} busybox", message)


def test_blank_base_name() -> None:
    fails("ARG X=\nFROM $X", "base name ($X) should not be blank")


# Arguments


def test_warning_of_build_arguments_that_nothing_takes() -> None:
    found = build(
        "ARG A\nFROM busybox\nARG VERSION\nONBUILD ARG LATER=1",
        build_args={"A": "", "VERSON": "1", "http_proxy": "p", "LATER": "2", "BUILDKIT_INLINE_CACHE": "1"},
    )
    (warning,) = [message for code, message in found.warnings if code == "UnusedBuildArgs"]
    assert warning.startswith("One or more build-args [VERSON] were not consumed")
    assert "did you mean VERSION" in warning


def test_the_password_of_an_address_is_not_kept() -> None:
    found = build(
        "FROM busybox\nARG T\nADD https://me:${T}@host/x https://me:${T}@host/y.git /x/", build_args={"T": "hunter2"}
    )
    assert found.created_by[-1] == "ADD https://xxxxx@host/x https://xxxxx@host/y.git /x/ # buildkit"
    assert not [step.meta.title for step in found.graph.needed() if "hunter2" in step.meta.title]


def test_run_history_names_the_arguments() -> None:
    found = build(
        "FROM busybox\nARG A=1 B C\nRUN echo hi\nENV A=3\nRUN [\"x\", \"y z\"]", build_args={"B": "two words"}
    )
    assert found.created_by == [
        "ARG A=1 B=two words C",
        "RUN |3 A=1 B=two words C= /bin/sh -c echo hi # buildkit",
        "ENV A=3",
        "RUN |3 A=3 B=two words C= x y z # buildkit",
    ]


def test_child_stage_inherits_arguments_but_the_images_env_wins() -> None:
    found = build("FROM busybox AS a\nENV X=env\nARG X=arg Y=1\nRUN one\nFROM a\nRUN two")
    one, two = (op for op in found.ops() if isinstance(op, Run))
    assert "X=arg" in one.env and "X=env" in two.env
    assert "Y=1" in two.env
    assert found.created_by[-1] == "RUN |2 X=env Y=1 /bin/sh -c two # buildkit"


def test_arguments_do_not_leak_to_siblings() -> None:
    found = build("FROM busybox AS a\nARG X=1\nRUN one\nFROM busybox\nCOPY --from=a /x /x\nRUN two")
    assert not any(entry.startswith("X=") for entry in found.ops()[-1].env)  # type: ignore[union-attr]


def test_undeclared_global_argument_is_warned_of() -> None:
    found = build("ARG IMAGE=busybox\nFROM ${IMAGE}${IMGE}")
    assert ("UndefinedArgInFrom", "FROM argument 'IMGE' is not declared (did you mean IMAGE?)") in found.warnings


def test_undefined_variables_are_warned_of() -> None:
    found = build("FROM busybox\nARG NAME\nENV COLOUR=red\nLABEL a=$COLOR b=$NAME")
    messages = [message for code, message in found.warnings if code == "UndefinedVar"]
    assert messages == ["Usage of undefined variable '$COLOR' (did you mean $COLOUR?)"]


def test_proxies_reach_run_only() -> None:
    found = build(
        "FROM busybox\nLABEL p=[$HTTP_PROXY]\nRUN true",
        build_args={"HTTP_PROXY": "http://a"},
        proxy_args={"http_proxy": "ignored", "no_proxy": "local"},
    )
    run = found.only(Run)
    assert "http_proxy=http://a" in run.proxy_env or "http_proxy=ignored" in run.proxy_env
    assert "NO_PROXY=local" in run.proxy_env and "no_proxy=local" in run.proxy_env
    assert not any("PROXY" in entry.upper() for entry in run.env)
    assert found.runtime.labels == (("p", "[]"),)
    assert "proxy" not in " ".join(found.created_by).lower().replace("label p=[]", "")


def test_source_date_epoch() -> None:
    text = "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN true"
    given = build(text, build_args={"SOURCE_DATE_EPOCH": "12"})
    assert given.plan.source_date_epoch == 12
    assert "SOURCE_DATE_EPOCH=12" in given.only(Run).env
    assert build("FROM busybox", source_date_epoch=5).plan.source_date_epoch == 5
    assert build("ARG SOURCE_DATE_EPOCH=7\nFROM busybox").plan.source_date_epoch == 7
    unset = {"SOURCE_DATE_EPOCH": ""}
    assert build("FROM busybox", source_date_epoch=5, build_args=unset).plan.source_date_epoch is None
    fails("FROM busybox", "invalid SOURCE_DATE_EPOCH: soon", build_args={"SOURCE_DATE_EPOCH": "soon"})


# ONBUILD


def test_triggers_of_an_image_run_first_and_once() -> None:
    images = {"docker.io/library/base:latest": image(OnBuild=["RUN trigger", "COPY --from=tools /t /t"])}
    text = "FROM busybox AS tools\nRUN make\nFROM base AS app\nRUN own\nFROM app\nRUN last"
    found = build(text, images=images)
    commands = [op.argv[-1] for op in found.ops() if isinstance(op, Run)]
    assert commands == ["make", "trigger", "own", "last"]
    assert found.runtime.on_build == ()


def test_triggers_may_copy_from_an_image_that_nothing_else_names() -> None:
    images = {
        "docker.io/library/base:latest": image(OnBuild=["COPY --from=other /a /a"]),
        "docker.io/library/other:latest": BUSYBOX,
    }
    found = build("FROM base", images=images)
    assert found.resolver.asked == ["docker.io/library/base:latest", "docker.io/library/other:latest"]
    assert len(found.ops()) == 1


def test_triggers_of_a_stage() -> None:
    found = build("FROM busybox AS a\nONBUILD RUN t\nRUN a\nFROM a AS b\nRUN b\nFROM b\nRUN c")
    assert [op.argv[-1] for op in found.ops() if isinstance(op, Run)] == ["a", "t", "b", "c"]
    assert found.graph.steps[found.graph.needed()[-2].id].meta.title == "RUN b"
    titles = [step.meta.title for step in found.graph.needed()]
    assert "ONBUILD RUN t" in titles


def test_a_trigger_that_is_not_allowed_fails_in_the_child() -> None:
    images = {"docker.io/library/base:latest": image(OnBuild=["FROM x"])}
    fails("FROM base", "FROM isn't allowed as an ONBUILD trigger", images=images)


def test_onbuild_is_recorded_without_history() -> None:
    found = build("FROM busybox\nONBUILD RUN a \\\n  b\nONBUILD COPY <<E /x\nhi\nE")
    assert found.runtime.on_build == ("RUN a   b", "COPY <<E /x\nhi\nE")
    assert found.created_by == []


def test_from_may_be_read_loosely() -> None:
    text = "ARG V=latest\nARG N\nFROM $N:$V AS Base\nARG V\nRUN echo $V\nFROM BASE\nRUN true"
    found = build(text, build_args=(("V", ""), ("N", "busybox")), dialect=Dialect(loose_from=True))
    assert found.resolver.asked == ["docker.io/library/busybox:latest"]
    assert [op.argv[-1] for op in found.ops() if isinstance(op, Run)] == ["echo $V", "true"]
    fails(text, "invalid reference format", build_args=(("V", ""), ("N", "busybox")))
    fails("FROM busybox AS Base\nFROM BASE", "failed to parse stage name")


def test_volumes_may_be_made() -> None:
    text = "FROM busybox\nVOLUME /data rel\nVOLUME /\nRUN touch /data/x"
    assert [type(op) for op in build(text).ops()] == [Run]
    found = build(text, dialect=Dialect(make_volumes=True))
    assert [op.path for op in found.ops() if isinstance(op, MakeDir)] == ["/data", "/rel"]
    assert sum(not line.empty_layer for line in found.plan.history) == 4


# Named contexts


def test_directory_replaces_a_stage() -> None:
    resolver = FakeResolver(contexts={"src": NamedContext()})
    found = build(
        "FROM nosuch AS src\nRUN false\nFROM scratch\nCOPY --from=src /a /b", resolver, contexts=("src",)
    )
    assert found.only(Context) == Context("src")
    copy = found.only(Copy)
    assert not copy.keep_owner
    assert [type(op) for op in found.ops()] == [Copy]


def test_image_replaces_an_image_by_any_spelling() -> None:
    named = NamedContext(base_image("docker.io/library/other:1", BUSYBOX))
    resolver = FakeResolver(contexts={"docker.io/library/alpine:latest": named})
    found = build("FROM alpine\nRUN true", resolver, contexts=("docker.io/library/alpine:latest",))
    assert found.only(Pull).origin.startswith("docker-image://docker.io/library/other:1@")


def test_directory_as_a_base_becomes_a_layer() -> None:
    resolver = FakeResolver(contexts={"rootfs": NamedContext()})
    found = build("FROM rootfs\nRUN true", resolver, contexts=("rootfs",))
    copy = found.only(Copy)
    assert copy.sources == (PathSource(1, "/", wildcard=False),) and copy.dest == "/"
    assert sum(not line.empty_layer for line in found.plan.history) == 2


def test_scratch_and_context_are_never_replaced() -> None:
    found = build("FROM scratch", FakeResolver(), contexts=("scratch",))
    assert found.resolver.asked == []


def test_bind_mount_of_a_context() -> None:
    resolver = FakeResolver(contexts={"extra": NamedContext()})
    found = build("FROM busybox\nRUN --mount=from=extra,source=d,target=m true", resolver, contexts=("extra",))
    assert found.only(Run).mounts == (BindMount("/m", 1, "/d"),)


# Options


def test_list_images_knows_what_is_in_use() -> None:
    text = (
        "ARG T=1.35\nFROM busybox:$T AS a\nFROM unused AS u\nFROM scratch\n"
        "COPY --from=a /x /\nCOPY --from=ghcr.io/o/t /y /"
    )
    options = LowerOptions(platform=AMD64, build_platform=AMD64)
    assert list_images(parse(Source("Dockerfile", text)), options) == (
        ("docker.io/library/busybox:1.35", AMD64),
        ("ghcr.io/o/t:latest", AMD64),
    )


def test_options_of_a_request() -> None:
    request = BuildRequest(
        context=".", store_root="/s", build_args=(("A", "1"),), platforms=("linux/arm64",), target="t",
        build_contexts=(("x", "./x"),), allow=("network.host",), run=RunOptions(network="none"),
    )  # fmt: skip
    options = options_of(request, ARM64, AMD64)
    assert options.platform == ARM64 and options.build_platform == AMD64 and options.platform_requested
    assert options.contexts == ("x",) and options.network == "none" and options.allow == {"network.host"}
    assert not options_of(BuildRequest(context=".", store_root="/s"), None, AMD64).platform_requested


def test_labels_of_the_command_line_do_not_reach_other_stages() -> None:
    found = build("FROM busybox AS a\nLABEL x=1\nFROM a\nRUN true", labels={"x": "2", "y": "3"})
    assert dict(found.runtime.labels) == {"x": "2", "y": "3"}


def test_no_cache_filter_takes_stage_names_in_any_case() -> None:
    found = build("FROM busybox AS Dev\nRUN a\nFROM dev AS b\nRUN b", no_cache_filter=("DEV",))
    states = {step.meta.title: step.meta.no_cache for step in found.graph.steps}
    assert states["RUN a"] and not states["RUN b"]
    steps = build("FROM busybox\nRUN a", no_cache=True).graph.steps
    assert all(step.meta.no_cache for step in steps if isinstance(step.op, Run))


def test_steps_are_numbered_as_buildkit_does() -> None:
    found = build("FROM busybox AS a\nWORKDIR /w\nENV x=1\nRUN echo $x\nFROM a AS b\nCOPY . .")
    shown = [
        (step.meta.stage, step.meta.number, step.meta.total, step.meta.title)
        for step in found.graph.needed()
        if step.meta.number
    ]
    assert [(stage, number, total) for stage, number, total, _ in shown] == [
        ("a", 1, 3), ("a", 2, 3), ("a", 3, 3), ("b", 1, 1),
    ]  # fmt: skip
    assert shown[2][3] == "RUN echo 1"


def test_a_single_stage_is_shown_without_a_name() -> None:
    assert all(not step.meta.stage for step in build("FROM busybox AS a\nRUN true").graph.needed())


def test_equal_steps_of_two_stages_are_one() -> None:
    found = build("FROM busybox AS a\nRUN x\nFROM busybox AS b\nRUN x\nFROM a\nCOPY --from=b /x /y")
    assert sum(isinstance(step.op, Run) for step in found.graph.steps) == 1


def test_all_stages_lowers_unused_ones_too() -> None:
    text = "FROM busybox AS a\nSTOPSIGNAL NOPE\nFROM busybox"
    build(text)
    with pytest.raises(DockerfileError, match="invalid signal"):
        build(text, all_stages=True)


def test_workdir_makes_a_layer_below_the_root_only() -> None:
    found = build("FROM busybox\nUSER a\nWORKDIR /\nWORKDIR /x/")
    assert found.ops() == [MakeDir("/x", "a")]
    assert [line.empty_layer for line in found.plan.history] == [False, True, True, False]


@pytest.mark.parametrize("trigger", ["BOGUS x", "COPY --from=7 / /", "EXPOSE abc"])
def test_an_error_in_a_trigger_names_the_trigger(trigger: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        build("FROM x", images={"docker.io/library/x:latest": {**BUSYBOX, "config": {"OnBuild": [trigger]}}})
    assert caught.value.hints[-1] == f"the base says so: `ONBUILD {trigger}`"


def test_a_wrong_stage_number_tells_the_right_ones() -> None:
    for text, hint in (
        ("FROM busybox\nCOPY --from=1 / /", "the only stage has the number 0"),
        ("FROM busybox AS a\nFROM a\nCOPY --from=2 / /", "the stages have the numbers 0 to 1"),
    ):
        with pytest.raises(DockerfileError, match="invalid stage index") as caught:
            build(text)
        assert caught.value.hints == (hint,)


def test_a_blank_base_names_the_argument_that_is_missing() -> None:
    with pytest.raises(DockerfileError, match="should not be blank") as caught:
        build("ARG X\nFROM $X")
    assert caught.value.hints == (Hint.of("build-arg", name="X"),)


def test_steps_know_how_they_are_written() -> None:
    """Titles tell values of build arguments, so caches that others read get the text of the Dockerfile."""
    text = """FROM busybox
ARG A
WORKDIR /$A
COPY f /$A
ADD https://me:pw@host/$A /
RUN echo \\
  $A
ONBUILD RUN echo ${A}
FROM busybox AS last
"""
    found = build(text.rpartition("FROM")[0], build_args={"A": "value"})
    steps = [step.meta for step in found.graph.steps if step.meta.number and not step.meta.title.startswith("FROM")]
    assert [meta.written for meta in steps] == [
        "WORKDIR /$A", "COPY f /$A", "ADD https://xxxxx@host/$A /", "RUN echo   $A",
    ]  # fmt: skip
    assert [meta.title for meta in steps][:3] == ["WORKDIR /value", "COPY f /value", "ADD https://xxxxx@host/value /"]

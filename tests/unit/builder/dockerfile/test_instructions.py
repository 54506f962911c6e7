"""Each instruction: what it leaves in the configuration and the history, and which operation it emits."""

from typing import Any

import pytest
from support.lowering import BUSYBOX, Lowered, build

from firkin.builder.graph.ops import (
    BindMount,
    CacheMount,
    Copy,
    FileSource,
    Git,
    Http,
    Mount,
    PathSource,
    Run,
    SecretMount,
    SshMount,
    TextSource,
    TmpfsMount,
)
from firkin.errors import DockerfileError


def lowered(body: str, **options: Any) -> Lowered:
    return build(f"FROM busybox\n{body}", **options)


def history(body: str, **options: Any) -> list[str]:
    return lowered(body, **options).created_by


def fails(body: str, *parts: str, **options: Any) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        lowered(body, **options)
    for part in parts:
        assert part in caught.value.message
    assert caught.value.span is not None
    return caught.value


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("ENV a=b c='d e'", "ENV a=b c=d e"),
        ("ENV a b c", "ENV a=b c"),
        ("LABEL x=1 \"y z\"=2", "LABEL x=1 y z=2"),
        ("CMD [\"sh\", \"-c\", \"a\\tb\"]", 'CMD ["sh" "-c" "a\\tb"]'),
        ("CMD []", "CMD []"),
        ("CMD echo \"hi\"", 'CMD ["/bin/sh" "-c" "echo \\"hi\\""]'),
        ("ENTRYPOINT [\"é\"]", 'ENTRYPOINT ["é"]'),
        ("ENTRYPOINT []", "ENTRYPOINT []"),
        ("USER a:b", "USER a:b"),
        ("WORKDIR /app/", "WORKDIR /app/"),
        ("WORKDIR //", "WORKDIR //"),
        ("WORKDIR /a/..", "WORKDIR /a/.."),
        ("EXPOSE 80 53/UDP 8000-8001", "EXPOSE [53/udp 80/tcp 8000/tcp 8001/tcp]"),
        ("VOLUME /a [b", "VOLUME [/a [b]"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGTERM"),
        ("SHELL [\"/bin/ash\", \"-c\"]", "SHELL [/bin/ash -c]"),
        ("MAINTAINER Some $One", "MAINTAINER Some $One"),
        (
            "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-interval=500ms --retries=3 CMD a b",
            "HEALTHCHECK {Test:[CMD-SHELL a b] Interval:1m30s Timeout:1.5s StartPeriod:0s StartInterval:500ms Retries:3}",
        ),
        (
            "HEALTHCHECK none",
            "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
        (
            'HEALTHCHECK CMD ["a b", "c"]',
            "HEALTHCHECK {Test:[CMD a b c] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
        ("ARG TARGETVARIANT TARGETARCH", "ARG TARGETVARIANT= TARGETARCH=amd64"),
        ("RUN echo  hi", "RUN /bin/sh -c echo  hi # buildkit"),
        ("RUN [\"echo\", \"hi\"]", "RUN echo hi # buildkit"),
        ("COPY a.txt b /", "COPY a.txt b / # buildkit"),
        (
            "COPY --chmod=755 --chown=1:2 --link a $X/b",
            "COPY --chown=1:2 --chmod=755 a /b # buildkit",
        ),
        ("COPY --parents a /", "COPY --parents a / # buildkit"),
        ("COPY <<A x <<'B' /d/\nA\nB", "COPY x <<A <<B /d/ # buildkit"),
        ("ADD --chmod=u+x http://h/a /", "ADD --chmod=u+x http://h/a / # buildkit"),
    ],
)
def test_history(body: str, line: str) -> None:
    found = lowered(body).plan.history[-1]
    assert found.created_by == line
    assert found.comment == "buildkit.dockerfile.v0"
    assert found.empty_layer == (line.split()[0] not in ("RUN", "COPY", "ADD", "WORKDIR"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("FROM busybox AS 1st", "invalid name for build stage"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV =x", "ENV names can not be blank"),
        ("LABEL", "LABEL requires at least one argument"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =x", "ARG names can not be blank"),
        ("COPY a", "COPY requires at least two arguments"),
        ("ADD a", "ADD requires at least two arguments"),
        ("COPY a <<E\nE", "COPY cannot accept a heredoc as a destination"),
        ("COPY git@github.com:o/r.git /", "source can't be a git ref for COPY"),
        ("COPY https://host/x.git /", "source can't be a git ref for COPY"),
        ("COPY https://host/x /", "source can't be a URL for COPY"),
        ("COPY --chmod=98 a /", "invalid chmod parameter: '98'"),
        ("COPY --chmod=17777 a /", "invalid chmod parameter: '17777'"),
        ("COPY --chmod=u+q a /", "invalid chmod parameter: 'u+q'"),
        ("ADD --checksum=sha256:1 a /", "checksum requires HTTP(S) or Git sources"),
        ("ADD --checksum=sha256:1 http://a/b http://a/c /", "checksum can't be specified for multiple sources"),
        ("ADD --checksum=sha256:1 http://a/b /", "invalid checksum"),
        ('COPY ["a\\u0000b", "/"]', "has a NUL character"),
        ('COPY ["a", "/\\u0000b"]', "has a NUL character"),
        (f"COPY a /{256 * 'n'}", "is too long: a name has up to 255 bytes"),
        (f"COPY {2048 * '/n'} /", "is too long: a name has up to 255 bytes, a path 4095"),
        (f"WORKDIR {128 * 'ü'}", "is too long"),
        ("COPY <<.. /\n..", '".." cannot be the name of a file'),
        ("COPY <<a/b /\na/b", '"a/b" cannot be the name of a file'),
        ("ADD http://a/b/.. /", "no file can have the name"),
        ("ADD http://a/b%00 /", "no file can have the name"),
        ("ADD https://h/r.git?nope=1 /", 'unexpected query "nope"'),
        ("ADD --keep-git-dir=true https://h/r.git?keep-git-dir=0 /", "inconsistent keep-git-dir"),
        ("ADD --from=x a /", "unknown flag: --from"),
        ("RUN --network=bridge true", 'invalid network mode: "bridge"'),
        ("RUN --network=host true", "network.host is not allowed"),
        ("RUN --security=insecure true", "security.insecure is not allowed"),
        ("RUN --security=no true", 'security "no" is not valid'),
        ("RUN []", "RUN requires a command"),
        ("RUN --mount=type=tmpfs true", "invalid mount target"),
        ("RUN --mount=type=bind,target=/x/.. true", "invalid mount target"),
        ("RUN --mount=type=bind,target=. true", "invalid mount target"),
        ("RUN --mount=type=ssh,source=x true", "ssh does not support source"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL /bin/sh", "SHELL requires the arguments to be in JSON form"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("EXPOSE 80/xyz", "invalid proto: xyz"),
        ("EXPOSE 65536", "invalid containerPort: 65536"),
        ("EXPOSE 9-8", "invalid containerPort: 9-8"),
        ("EXPOSE /tcp", "no port specified"),
        ("EXPOSE 1.2.3:1:2", "invalid IP address: 1.2.3"),
        ("EXPOSE 1-3:1-2", "invalid ranges specified"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME $NOPE", "VOLUME specified can not be an empty string"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("STOPSIGNAL SIGTREM", "invalid signal: SIGTREM"),
        ("STOPSIGNAL 0", "invalid signal: 0"),
        ("STOPSIGNAL UNUSED", "invalid signal: UNUSED"),
        ("STOPSIGNAL 99999999999999999999", "invalid signal: 99999999999999999999"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK RUN x", 'Unknown type "RUN" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --interval=10us CMD a", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=30 CMD a", 'missing unit in duration "30"'),
        ("HEALTHCHECK --timeout=3x CMD a", 'unknown unit "x" in duration "3x"'),
        ("HEALTHCHECK --timeout=soon CMD a", 'invalid duration "soon"'),
        ("HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative"),
        ("HEALTHCHECK --retries=x CMD a", "--retries"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD onbuild RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER a", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN [1]", "arrays must be comprised of strings only"),
        ("ONBUILD ENV a", "ENV must have two arguments"),
    ],
)
def test_errors(body: str, message: str) -> None:
    fails(body, message)


def test_a_wrong_signal_suggests_the_nearest() -> None:
    assert fails("STOPSIGNAL SIGTREM").hints == ("did you mean `SIGTERM`?",)


@pytest.mark.parametrize("signal", ["9", "term", "SIGRTMIN+3", "sigrtmax-1", "KILL"])
def test_signals_keep_their_spelling(signal: str) -> None:
    assert lowered(f"STOPSIGNAL {signal}").runtime.stop_signal == signal


# CMD, ENTRYPOINT, SHELL, HEALTHCHECK


@pytest.mark.parametrize(
    ("text", "entrypoint", "cmd"),
    [
        ('FROM busybox\nENTRYPOINT ["e"]', ("e",), None),
        ('FROM busybox\nCMD ["c"]\nENTRYPOINT ["e"]', ("e",), ("c",)),
        ('FROM busybox\nENTRYPOINT ["e"]\nCMD ["c"]', ("e",), ("c",)),
        ('FROM busybox AS a\nCMD ["c"]\nFROM a\nENTRYPOINT ["e"]', ("e",), None),
        ('FROM busybox AS a\nENTRYPOINT ["e"]\nFROM a\nCMD []', ("e",), ()),
        ('FROM busybox AS a\nENTRYPOINT ["e"]\nFROM a\nENTRYPOINT []', None, None),
        ('FROM busybox\nSHELL ["s"]\nENTRYPOINT x y\nCMD z', ("s", "x y"), ("s", "z")),
    ],
)
def test_entrypoint_and_cmd(text: str, entrypoint: tuple[str, ...] | None, cmd: tuple[str, ...] | None) -> None:
    runtime = build(text).runtime
    assert (runtime.entrypoint, runtime.cmd) == (entrypoint, cmd)


def test_shell_is_inherited_by_later_stages_and_from_images() -> None:
    assert build('FROM busybox AS a\nSHELL ["s", "-x"]\nFROM a\nRUN y').only(Run).argv == ("s", "-x", "y")
    images = {"docker.io/library/b:latest": {**BUSYBOX, "config": {"Shell": ["b"]}}}
    assert build("FROM b\nRUN y", images=images).only(Run).argv == ("b", "y")


def test_repeated_commands_are_warned_of() -> None:
    found = lowered('CMD ["a"]\nCMD ["b"]\nENTRYPOINT x')
    assert found.codes == ["MultipleInstructionsDisallowed", "JSONArgsRecommended"]


# ENV


def test_env_keeps_its_place_and_reads_what_was_before_the_line() -> None:
    found = lowered("ENV a=1 b=2\nENV b=3 a=$b c=$a")
    assert found.runtime.env[1:] == ("a=2", "b=3", "c=1")


def test_env_of_a_base_with_a_name_twice_changes_the_first() -> None:
    images = {"docker.io/library/b:latest": {**BUSYBOX, "config": {"Env": ["PATH=/x", "A=1", "A=2"]}}}
    assert build("FROM b\nENV A=3", images=images).runtime.env == ("PATH=/x", "A=3", "A=2")


# WORKDIR and paths


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (("a",), "/a"),
        (("/a", "b/../c"), "/a/c"),
        (("/a", ".."), "/"),
        (("/a", "../../.."), "/"),
        (("/a/./b/",), "/a/./b/"),
        (("/a", "$NOPE"), "/a"),
    ],
)
def test_workdir(lines: tuple[str, ...], kept: str) -> None:
    assert lowered("\n".join(f"WORKDIR {line}" for line in lines)).runtime.working_dir == kept


def test_relative_workdir_of_a_base_starts_at_the_root() -> None:
    images = {"docker.io/library/b:latest": {**BUSYBOX, "config": {"WorkingDir": "rel"}}}
    assert build("FROM b\nRUN x", images=images).only(Run).cwd == "/rel"


def test_relative_workdir_is_warned_of_once() -> None:
    assert lowered("WORKDIR a\nWORKDIR b").codes == ["WorkdirRelativePath"]
    assert lowered("WORKDIR /a\nWORKDIR b").codes == []


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/x", "/x"),
        ("/x/", "/x/"),
        ("/x/.", "/x/"),
        ("x", "/w/x"),
        ("./", "/w/"),
        (".", "/w/"),
        ("$EMPTY", "/w/"),
        ("../x//y/", "/x/y/"),
        ("/", "/"),
        ("/../..", "/"),
    ],
)
def test_destinations(written: str, path: str) -> None:
    assert lowered(f"WORKDIR /w\nCOPY a {written}").only(Copy).dest == path


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("a/b/", PathSource(1, "/a/b", wildcard=False)),
        ("../../x", PathSource(1, "/x", wildcard=False)),
        ("/", PathSource(1, "/", wildcard=False)),
        (".", PathSource(1, "/", wildcard=False)),
        ("a*", PathSource(1, "/a*", wildcard=True)),
        ("a[[]b", PathSource(1, "/a[[]b", wildcard=True)),
        (r"a\\*b", PathSource(1, r"/a\*b", wildcard=False)),
    ],
)
def test_sources(written: str, source: PathSource) -> None:
    assert lowered(f"COPY {written} /").only(Copy).sources == (source,)


@pytest.mark.parametrize(
    ("written", "path", "pivot", "wildcard"),
    [
        ("a/b/c", "/a/b/c", 0, False),
        ("./a/b", "/a/b", 0, False),
        ("a/./b/c", "/a/b/c", 1, False),
        ("./a/b/./c", "/a/b/c", 2, False),
        ("/./a", "/a", 0, False),
        ("x/../a/./*.txt", "/a/*.txt", 1, True),
    ],
)
def test_parents(written: str, path: str, pivot: int, wildcard: bool) -> None:
    op = lowered(f"COPY --parents {written} /").only(Copy)
    assert op.parents
    assert op.sources == (PathSource(1, path, wildcard, pivot),)


# COPY and ADD


def test_copy_flags() -> None:
    op = lowered("ARG U=5 M=0640\nCOPY --link --chown=$U:$U --exclude=*.md --exclude=x a b/ /d/").only(Copy)
    assert (op.link, op.chown, op.exclude, op.keep_owner, op.unpack) == (True, "5:5", ("*.md", "x"), False, "never")
    assert lowered("ARG M=0640\nCOPY --chmod=$M a /").only(Copy).chmod == "0640"


def test_link_with_modes_is_an_ordinary_copy() -> None:
    assert not lowered("COPY --link --chmod=755 a /").only(Copy).link


@pytest.mark.parametrize("mode", ["0", "7777", "0755", "u=rwX,go-w", "+x", "a=", "g=u", "u+s,+t", "go=rX", "u=rg", "=gx"])
def test_modes(mode: str) -> None:
    assert lowered(f"COPY --chmod={mode} a /").only(Copy).chmod == mode


def test_files_of_a_stage_keep_their_owners() -> None:
    assert build("FROM busybox AS a\nRUN x\nFROM busybox\nCOPY --from=a /x /").only(Copy).keep_owner


def test_heredocs_expand_unless_quoted() -> None:
    body = (
        "ENV V=v\nCOPY <<A <<-'B' <<\"C\" /d/\n$V ${V}s \\$V 'q' \"$V\" \\n\nA\n\t\ttabs $V\n\tB\n$V\nC\n"
        "COPY --chmod=600 <<E plain /e\nE"
    )
    first, second = (op for op in lowered(body).ops() if isinstance(op, Copy))
    assert first.sources == (
        TextSource("A", "v vs $V 'q' \"v\" n\n"),
        TextSource("B", "tabs $V\n"),
        TextSource("C", "$V\n"),
    )
    assert second.sources == (PathSource(1, "/plain", wildcard=False), TextSource("E", ""))


def test_add_unpacks_local_archives_only() -> None:
    assert lowered("ADD a.tar /").only(Copy).unpack == "auto"
    assert lowered("ADD --unpack=false a.tar /").only(Copy).unpack == "never"
    found = lowered("ADD --unpack=true http://h/a.tar /")
    assert found.only(Copy).unpack == "always"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/b.txt?x=1#y", "b.txt"),
        ("https://h/a%20b", "a b"),
        ("https://h", "__unnamed__"),
        ("https://h/", "__unnamed__"),
        ("https://h/d/", "d"),
    ],
)
def test_add_of_a_url(url: str, name: str) -> None:
    found = lowered(f"ADD {url} /d/")
    assert found.only(Http) == Http(url, name)
    assert found.only(Copy).sources == (FileSource(1),)


def test_add_of_several_kinds() -> None:
    op = lowered("ADD http://h/a b https://h/r.git c /d/").only(Copy)
    assert op.sources == (
        FileSource(1), PathSource(2, "/b", wildcard=False), FileSource(3), PathSource(2, "/c", wildcard=False),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "git"),
    [
        ("https://h/r.git", Git("https://h/r.git")),
        ("https://h/r.git#v1:sub/dir", Git("https://h/r.git", "v1", "sub/dir")),
        ("https://h/r.git?branch=b&subdir=s", Git("https://h/r.git", "refs/heads/b", "s")),
        ("https://h/r.git?tag=t&submodules=0", Git("https://h/r.git", "refs/tags/t", submodules=False)),
        ("https://h/r.git?commit=abc", Git("https://h/r.git", "", checksum="abc")),
        ("https://h/r.git?commit=" + "a" * 40, Git("https://h/r.git", "a" * 40, checksum="a" * 40)),
        ("git@h.org:o/r#main", Git("git@h.org:o/r", "main")),
        ("ssh://git@h:22/o/r.git#:sub", Git("ssh://git@h:22/o/r.git", "", "sub")),
        ("git://h/r", Git("git://h/r")),
        ("--keep-git-dir=true https://h/r", Git("https://h/r", keep_git_dir=True)),
        ("--checksum=deadbeef https://h/r.git", Git("https://h/r.git", checksum="deadbeef")),
    ],
)
def test_add_of_a_repository(words: str, git: Git) -> None:
    assert lowered(f"ADD {words} /d").only(Git) == git


@pytest.mark.parametrize("path", ["./x.git", "github.com/o/r", "a:b", "ftp://h/x", "x@y"])
def test_what_is_no_repository(path: str) -> None:
    assert isinstance(lowered(f"ADD {path} /d").only(Copy).sources[0], PathSource)


# RUN


def test_run_environment_and_user() -> None:
    run = lowered("ARG A=1\nENV B=2\nUSER u:g\nWORKDIR /w/\nRUN x").only(Run)
    assert run.env[-2:] == ("A=1", "B=2")
    assert (run.user, run.cwd, run.argv, run.network) == ("u:g", "/w", ("/bin/sh", "-c", "x"), "default")


def test_run_heredocs() -> None:
    assert lowered("RUN <<EOF\necho a\n$b\nEOF").only(Run).argv == ("/bin/sh", "-c", "echo a\n$b\n")
    assert lowered("RUN <<-EOF\n\techo a\n\tEOF").only(Run).argv == ("/bin/sh", "-c", "echo a\n")
    several = lowered("RUN cat <<A && cat <<'B'\na\nA\nb\nB").only(Run)
    assert several.argv[-1] == "cat <<A && cat <<'B'\na\nA\nb\nB"
    script = lowered("RUN <<EOF\n#!/usr/bin/env python\nprint(1)\nEOF").only(Run)
    assert script.argv == ("/bin/sh", "-c", "/dev/pipes/EOF")
    assert script.files == (("/dev/pipes/EOF", "#!/usr/bin/env python\nprint(1)\n", 0o755),)


def test_run_without_a_command_runs_the_shell_on_nothing() -> None:
    assert lowered("RUN").only(Run).argv == ("/bin/sh", "-c", "")


def test_run_titles() -> None:
    def title(body: str) -> str:
        return lowered(body).graph.steps[-1].meta.title

    assert title("ENV A=1\nrun echo \"$A\" $B") == 'RUN echo "1" $B'
    assert title("RUN <<EOF\nfirst\nsecond\nEOF") == "RUN <<EOF (first...)"


def test_run_network_and_security() -> None:
    assert lowered("RUN --network=none x").only(Run).network == "none"
    assert lowered("RUN x", network="none").only(Run).network == "none"
    assert lowered("RUN --network=host x", network="host").only(Run).network == "host"
    assert lowered("RUN --network=host x", allow=frozenset(("network.host",))).only(Run).network == "host"
    assert lowered("RUN --security=insecure x", allow=frozenset(("security.insecure",))).only(Run).insecure


def test_hostname_of_the_sandbox() -> None:
    assert lowered("RUN x", build_args={"BUILDKIT_SANDBOX_HOSTNAME": "h"}).only(Run).hostname == "h"


@pytest.mark.parametrize(
    ("options", "mount"),
    [
        ("target=/m", BindMount("/m", 1)),
        ("type=bind,src=../a,dst=m,rw", BindMount("/w/m", 1, "/a", readonly=False)),
        ("type=cache,target=/c/", CacheMount("/c", "/" + "/c")),
        ("type=cache,target=c", CacheMount("/w/c", "/c")),
        ("type=cache,target=c,id=x,sharing=locked,ro", CacheMount("/w/c", "/x", "locked", True)),
        ("type=cache,target=/c,mode=0700,uid=1,gid=2", CacheMount("/c", "//c", mode=0o700, uid=1, gid=2)),
        ("type=tmpfs,target=/t,size=1m", TmpfsMount("/t", 1 << 20)),
        ("type=secret,id=s", SecretMount("s", "/run/secrets/s")),
        ("type=secret,id=a/s,required", SecretMount("a/s", "/run/secrets/s", required=True)),
        ("type=secret,target=/x/y", SecretMount("y", "/x/y")),
        ("type=secret,target=rel,id=s,mode=0444,uid=3", SecretMount("s", "/w/rel", mode=0o444, uid=3)),
        ("type=secret,id=s,env=TOKEN", SecretMount("s", "", "TOKEN")),
        ("type=secret,id=s,env=TOKEN,target=/t", SecretMount("s", "/t", "TOKEN")),
        ("type=ssh", SshMount("default", "/run/buildkit/ssh_agent.0")),
        ("type=ssh,target=rel", SshMount("default", "/w/rel")),
        ("type=ssh,id=k,target=/s,required=true,gid=4", SshMount("k", "/s", True, gid=4)),
        ("type=$T,target=/$T", TmpfsMount("/tmpfs")),
    ],
)
def test_mounts(options: str, mount: Mount) -> None:
    assert lowered(f"ENV T=tmpfs\nWORKDIR /w\nRUN --mount={options} x").only(Run).mounts == (mount,)


def test_cache_mounts_have_a_namespace_and_may_start_from_a_stage() -> None:
    text = "FROM busybox AS a\nRUN y\nFROM busybox\nRUN --mount=type=cache,target=/c,from=a,source=/d x"
    found = build(text, build_args={"BUILDKIT_CACHE_MOUNT_NS": "ns"}).ops()[-1]
    assert isinstance(found, Run)
    assert found.mounts == (CacheMount("/c", "ns//c", input=1, source="/d", mode=-1),)
    found = build(text.replace(",source=/d", ",uid=7")).ops()[-1]
    assert isinstance(found, Run)
    assert found.mounts == (CacheMount("/c", "//c", input=1, uid=7),)
    scratch = lowered("RUN --mount=type=cache,target=/c,from=scratch x").only(Run)
    assert scratch.mounts == (CacheMount("/c", "//c"),)


def test_mounts_share_inputs() -> None:
    run = build(
        "FROM busybox AS a\nRUN y\nFROM busybox\n"
        "RUN --mount=from=a,target=/1 --mount=target=/2 --mount=from=a,target=/3 --mount=type=ssh --mount=type=ssh x"
    ).ops()[-1]
    assert isinstance(run, Run)
    assert [mount.input for mount in run.mounts if isinstance(mount, BindMount)] == [1, 2, 1]
    assert [mount.target for mount in run.mounts if isinstance(mount, SshMount)][-1].endswith(".1")


# EXPOSE


def test_expose_takes_words_out_of_variables() -> None:
    found = lowered('ENV P="81 82/udp"\nEXPOSE $P 0080 [::1]:9:90 127.0.0.1::91')
    assert sorted(found.runtime.exposed_ports) == ["80/tcp", "81/tcp", "82/udp", "90/tcp", "91/tcp"]


# Texts that are not UTF-8


def test_bytes_that_are_not_utf8_are_replaced_in_the_configuration() -> None:
    body = '# ?\nCOPY <<A /a\n?\nA\nENV A=?\nCMD ["?"]\nLABEL ?=$?\nUSER ?\nMAINTAINER ?'
    found = lowered(body.replace("?", "\udce9"))
    config = found.encoded_config()
    assert config.count("\ufffd".encode()) >= 6 and b"\xe9" not in config
    assert found.only(Copy).sources[0].content == "\udce9\n"  # a file keeps its bytes


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("RUN echo ?", "command"),
        ("RUN <<A\necho ?\nA", "command"),
        ("ENV A=?\nRUN true", "environment"),
        ("WORKDIR /?\nRUN true", "path"),
        ("USER ?\nRUN true", "user"),
        ("COPY ? /x", "path"),
        ("COPY x /?", "destination"),
        ("COPY --chown=? x /", "value of `--chown`"),
        ("COPY --exclude=? x /", "pattern of `--exclude`"),
        ("COPY <<? /\nx\n?\n", "name"),
        ("ADD http://h/? /", "URL"),
        ("RUN --mount=type=cache,target=/? true", "target"),
        ("RUN --mount=type=secret,id=? true", "id"),
    ],
)
@pytest.mark.parametrize(("char", "code"), [("\udce9", "not-utf-8"), ("\0", "nul")])
def test_what_runs_or_names_a_file_is_refused_unless_it_is_text(body: str, field: str, char: str, code: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        lowered(body.replace("?", char))
    assert caught.value.span is not None
    if caught.value.code == code:
        assert field in caught.value.message
        assert code == "nul" or "string field contains invalid UTF-8" in caught.value.message
    else:  # names of files have been looked at before
        assert "NUL" in caught.value.message or "no file can have" in caught.value.message


@pytest.mark.parametrize(
    ("body", "trigger"),
    [
        ("ONBUILD RUN echo hi  \t", "RUN echo hi  \t"),
        ("onbuild\trun  a  \\\n  b  ", "run  a    b  "),
        ("ONBUILD -- RUN x", "-- RUN x"),
        ("ONBUILD # x", "# x"),
        ("\\\n  ONBUILD RUN x ", "RUN x "),
        ("ONBUILD ADD <<A /\n\tx\nA", "ADD <<A /\n\tx\nA"),
    ],
)
def test_onbuild_keeps_the_trigger_to_the_letter(body: str, trigger: str) -> None:
    assert lowered(body).runtime.on_build == (trigger,)


def test_healthcheck_none_takes_an_empty_array() -> None:
    check = lowered("HEALTHCHECK NONE []").runtime.healthcheck
    assert check is not None and check.test == ("NONE",)

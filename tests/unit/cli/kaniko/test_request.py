"""Flags of the executor as a BuildRequest, contexts as addresses, and what it writes."""

import json
import os

import pytest

from firkin.ambient import Ambient
from firkin.builder.request import BuildRequest, BuildResult, CacheRef, ImageResult
from firkin.cli.kaniko.context import bucket_context, translate_context
from firkin.cli.kaniko.executor import kaniko_exit_code
from firkin.cli.kaniko.files import write_results
from firkin.cli.kaniko.flags import FLAGS
from firkin.cli.kaniko.hints import EXECUTOR
from firkin.cli.kaniko.parse import parse_words
from firkin.cli.kaniko.request import DUMMY_DESTINATION, executor_request
from firkin.errors import Cancelled, ContextError, RegistryError, StepFailed, UsageError
from firkin.events import Finished, Log, Planned, Started, Vertex
from firkin.hints import Hint
from firkin.registry.keychain import Keychain, from_environment
from firkin.registry.settings import Mirror
from firkin.render.logs import LogRenderer, LogStyle, log_line

DIGEST = "sha256:" + "7" * 64


def request(*words: str, environ: dict[str, str] | None = None, cwd: str = "/w") -> BuildRequest:
    environ = environ or {}
    return executor_request(parse_words(words, FLAGS["executor"], environ), Ambient(environ, cwd, "/root", 0, 1.0))


def test_the_defaults():
    found = request("-d", "reg.example/app")
    assert (found.context, found.dockerfile, found.tags) == ("/workspace/", "Dockerfile", ("reg.example/app",))
    (output,) = found.outputs
    assert (output.type, output.compression, found.media_family) == ("registry", "gzip", "base")
    assert found.check_push == ("reg.example/app",) and not found.cache_from and not found.no_cache
    assert request("--no-push", environ={"HTTP_PROXY": "http://u:p@h"}).proxy_args == ()
    assert found.image_dir == "/cache" and found.registry.credential_helpers[0] == "env"


def test_build_arguments():
    found = request("--no-push", "--build-arg", "A=1,2", "--build-arg=B", "--build-arg", "C", "--build-arg=A=x=y",
                    environ={"B": "from here"})  # fmt: skip
    assert found.build_args == (("A", "x=y"), ("B", "from here"), ("C", ""))
    assert request("--no-push", "--build-arg", "", "--build-arg=A=").build_args == (("A", ""),)


def test_outputs():
    found = request("-d", "a/b", "--tar-path=out/i.tar", "--oci-layout-path", "/oci", "--compression-level=5")
    layout, tar, push = found.outputs
    assert (layout.type, layout.dest, layout.tar, layout.alone) == ("oci", "/oci", False, True)
    assert (tar.type, tar.dest, tar.flat, tar.names) == ("docker", "/w/out/i.tar", True, ("docker.io/a/b:latest",))
    assert push.type == "registry" and {item.compression_level for item in found.outputs} == {5}
    assert request("--no-push", "--tarPath=i").outputs[0].names == (DUMMY_DESTINATION,)
    assert request("--no-push").outputs == () and request("--no-push", "-d", "a").check_push == ()


def test_no_push_of_the_environment_wins():
    assert request("-d", "a", environ={"KANIKO_NO_PUSH": "true"}).outputs == ()
    assert [x.type for x in request("-d", "a", "--no-push", environ={"KANIKO_NO_PUSH": "0"}).outputs] == ["registry"]


@pytest.mark.parametrize(("words", "message"), [
    ((), "you must provide --destination, or use --no-push"),
    (("--no-push", "--image-name-with-digest-file=x"), "you must provide --destination if setting"),
    (("-d", "a/B"), "flag `--destination`"),
    (("-d", f"a@{DIGEST}"), "has a digest"),
    (("--no-push", "--label", "x"), "is not KEY=VALUE"),
    (("--no-push", "--cache"), "needs --cache-repo or --no-push-cache"),
    (("--no-push", "--compression=zstd", "--image-format=docker"), "needs --image-format=oci"),
    (("--no-push", "--compression=zstd", "--tar-path=x"), "cannot go with --tar-path"),
    (("--no-push", "--secret", "id=a,env=HOME", "--secret", "id=a,env=HOME"), "is given twice"),
    (("--no-push", "--context=ftp://x"), "unknown build context prefix"),
    (("--no-push", "--credential-helpers=docker"), "unknown credential helper"),
    (("--no-push", "--git", "single-branch=maybe", "--context=git://h/r"), "neither true nor false"),
])  # fmt: skip
def test_what_is_refused(words, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        request(*words, environ={"HOME": "/root"})


def test_caches():
    found = request("-d", "reg.example/team/app:1", "--cache", "--cache-ttl=6h")
    cache = CacheRef("registry", "reg.example/team/app/cache", mode="max", ttl_s=21600, ignore_error=True)
    assert found.cache_from == found.cache_to == (cache,)
    assert found.check_push == ("reg.example/team/app:1", "reg.example/team/app/cache")
    local = request("--no-push", "--cache=true", "--cache-repo=oci:/c", "--cache-copy-layers=false",
                    "--cache-run-layers=false")  # fmt: skip
    assert local.cache_from == (
        CacheRef("local", "/c", mode="max", ttl_s=1209600, ignore_error=True, copy_layers=False, run_layers=False),
    )
    assert local.check_push == ()
    reading = request("--no-push", "--cache", "--no-push-cache", "-d", "a/b")
    assert reading.cache_from and reading.cache_to == () and reading.check_push == ()
    assert request("-d", "a", "--cache=false").no_cache


def test_registries():
    registry = request(
        "--no-push", "--registry-mirror=m.example/hub", "--registry-map", "gcr.io=g.example;index.docker.io=h",
        "--insecure", "--insecure-registry=i:5000", "--skip-tls-verify", "--registry-certificate=r=/ca.pem",
        "--registry-client-cert=r=/c,/k", "--push-retry=3", "--image-download-retry=2",
        "--skip-default-registry-fallback", "--credential-helpers=", environ={"UPSTREAM_CLIENT_TYPE": "ci"},
    ).registry  # fmt: skip
    assert registry.mirrors == (
        Mirror("gcr.io", "g.example"), Mirror("docker.io", "h"), Mirror("docker.io", "m.example/hub"),
    )  # fmt: skip
    assert registry.insecure_push and not registry.insecure_pull and registry.insecure == ("i:5000",)
    assert registry.skip_tls_verify_push and registry.skip_tls_verify_pull and not registry.mirror_fallback
    assert registry.ca_files == (("r", "/ca.pem"),) and registry.client_certs == (("r", "/c", "/k"),)
    assert (registry.push_retries, registry.pull_retries, registry.user_agent_suffix) == (3, 2, "ci")
    assert registry.credential_helpers == ()
    assert request("--no-push", "--skip-default-registry-fallback").registry.mirror_fallback


def test_the_rest():
    found = request(
        "--no-push", "--target=a,b", "--target", "c", "--reproducible", "--ignore-path=/x/", "--ignore-path=y",
        "--ignore-var-run", "--dryrun", "--custom-platform=linux/arm64", "--kaniko-dir=/k",
    )  # fmt: skip
    assert (found.target, found.also_targets, found.platforms) == ("a", ("b", "c"), ("linux/arm64",))
    assert (found.source_date_epoch, found.rewrite_timestamp, found.plan_only) == (0, True, True)
    assert found.ignore_paths == ("x", "y", "var/run") and found.store_root == "/k/store"
    assert request("--no-push", environ={"SOURCE_DATE_EPOCH": "7"}).source_date_epoch == 7
    named = request("--no-push", "--reproducible", environ={"SOURCE_DATE_EPOCH": "context"})
    assert (named.source_date_epoch, dict(named.build_args)["SOURCE_DATE_EPOCH"]) == (None, "context")
    assert request("--no-push").ignore_paths == request("--no-push", "--ignore-var-run=false").ignore_paths == ()


def test_the_dockerfile_may_lie_beside_a_remote_context(tmp_path):
    (tmp_path / "D").write_text("FROM scratch\n")
    found = request("--no-push", "--context=s3://b/k", "-f", "D", cwd=str(tmp_path))
    assert (found.context, found.dockerfile, found.dockerfile_text) == ("s3://b/k", "D", "FROM scratch\n")
    assert found.ignore_text is None
    (tmp_path / "D.dockerignore").write_text("*.log\n")
    (tmp_path / "D").rename(tmp_path / "Dockerfile")
    (tmp_path / "D.dockerignore").rename(tmp_path / "Dockerfile.dockerignore")
    found = request("--no-push", "--context=s3://b/k", cwd=str(tmp_path))
    assert (found.dockerfile_text, found.ignore_text) == ("FROM scratch\n", "*.log\n")


@pytest.mark.parametrize(("text", "context"), [
    ("/workspace/", "/workspace/"), ("rel/dir", "rel/dir"), ("dir:///w", "/w"), ("tar:///x.tar.gz", "/x.tar.gz"),
    ("tar://stdin", "-"), ("s3://bucket/a/b.tar.gz", "s3://bucket/a/b.tar.gz"),
    ("gs://bucket", "gs://bucket/context.tar.gz"), ("https://h/x.tar.gz", "https://h/x.tar.gz"),
    ("git://github.com/u/r", "https://github.com/u/r?keep-git-dir=true&submodules=false"),
    ("git://github.com/u/r.git#refs/heads/main", "https://github.com/u/r.git?keep-git-dir=true&submodules=false#refs/heads/main"),
    ("git://h/r.git#refs/heads/main#" + "a" * 40, "https://h/r.git?keep-git-dir=true&submodules=false#" + "a" * 40),
])  # fmt: skip
def test_contexts(text, context):
    assert translate_context(text, "", {}, {}) == (context, "", "", text.startswith("git:"), 1)


def test_git_contexts_have_options():
    found = translate_context("git://h/r#x", "/sub/", {"branch": "v1", "insecure-skip-tls": "1"}, {})
    assert found == ("https://h/r?keep-git-dir=true&submodules=false#v1:sub", "", "h", True, 1)
    found = translate_context("git://h/r", "", {"recurse-submodules": "true"}, {"GIT_PULL_METHOD": "http"})
    assert found.context == "http://h/r?keep-git-dir=true"
    assert request("--no-push", "--context=git://h/r", "--git=depth=0").git_depth == 0
    assert (bucket_context("b/x"), bucket_context("s3://b")) == ("gs://b/x", "s3://b")


def test_hints_name_flags_of_the_executor():
    error = UsageError("x", hints=(Hint.of("login", host="r"), "a text"), option=Hint.of("option-platform"))
    error.put(EXECUTOR)
    assert error.message == "invalid --custom-platform: x"
    assert error.hints == ("no credentials for `r` were found; run `executor login r`", "a text")


def test_exit_codes():
    assert kaniko_exit_code(StepFailed("x", exit_code=42)) == 42
    assert kaniko_exit_code(Cancelled("x", exit_code=143)) == 143
    assert {kaniko_exit_code(error("x")) for error in (UsageError, RegistryError, ContextError)} == {1}


def result_files(tmp_path, *words: str, environ: dict[str, str] | None = None) -> None:
    flags = parse_words(words, FLAGS["executor"], {})
    ambient = Ambient(environ or {}, str(tmp_path), "/root", 0, 1.0)
    image = ImageResult(DIGEST, DIGEST, "", (), "linux/amd64", 1)
    write_results(flags, ambient, executor_request(flags, ambient), BuildResult(image, (image,), (), (), 1.0))


def test_digest_files(tmp_path):
    result_files(tmp_path, "-d", "app", "-d", "r:5000/a/b:1", "--digest-file=deep/er/digest",
                 "--image-name-with-digest-file=n", "--image-name-tag-with-digest-file=t",
                 environ={"BUILDER_OUTPUT": str(tmp_path)})  # fmt: skip
    assert (tmp_path / "deep/er/digest").read_bytes() == DIGEST.encode()
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "n").read_text() == f"index.docker.io/library/app@{DIGEST}\nr:5000/a/b@{DIGEST}\n"
    assert (tmp_path / "t").read_text() == f"index.docker.io/library/app:latest@{DIGEST}\nr:5000/a/b:1@{DIGEST}\n"
    lines = [json.loads(line) for line in (tmp_path / "images").read_text().splitlines()]
    assert lines == [{"name": "app", "digest": DIGEST}, {"name": "r:5000/a/b:1", "digest": DIGEST}]


def test_a_digest_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="flag `--digest-file`: cannot write file/x: not a directory"):
        result_files(tmp_path, "--no-push", "--digest-file=file/x")


@pytest.mark.parametrize(("host", "environ", "user"), [
    ("reg.my-team.example", {"KANIKO_REG_MY_TEAM_EXAMPLE_USER": "u", "KANIKO_REG_MY_TEAM_EXAMPLE_PASSWORD": "p"}, "u"),
    ("reg.example:5000", {"KANIKO_EXAMPLE_USER": "u", "KANIKO_EXAMPLE_PASSWORD": "p"}, "u"),
    ("docker.io", {"KANIKO_INDEX_DOCKER_IO_USER": "u", "KANIKO_INDEX_DOCKER_IO_PASSWORD": "p"}, "u"),
    ("reg.example", {"KANIKO_REG_EXAMPLE_USER": "u"}, None),
])  # fmt: skip
def test_credentials_of_the_environment(host, environ, user):
    found = from_environment(host, environ)
    assert (found.username if found else None) == user


def test_credentials_of_a_variable_may_be_a_path(tmp_path):
    place = tmp_path / "auth"
    place.write_text('{"auths": {"r.example": {"username": "me", "password": "p"}}}')
    registry = request("--no-push", environ={"DOCKER_AUTH_CONFIG": str(place)}).registry
    found = Keychain(registry).find("r.example")
    assert found is not None and found.username == "me"


def test_lines_of_steps_side_by_side_stay_whole():
    reading, writing = os.pipe()
    log = LogRenderer(LogStyle(level="error"), 0.0, output=writing)
    log.event(Planned(0.0, (Vertex("a", "A"), Vertex("b", "B"))))
    for event in (
        Started(0.0, "a"), Log(0.0, "a", "stdout", b"1"), Log(0.0, "a", "stdout", b"2\n"), Started(0.0, "b"),
        Log(0.0, "a", "stdout", b"a"), Log(0.0, "b", "stdout", b"b\n"), Log(0.0, "a", "stdout", b"c\nd"),
        Finished(0.0, "b", "done"), Log(0.0, "a", "stdout", b"e"), Finished(0.0, "a", "failed"),
    ):  # fmt: skip
        log.event(event)
    log.close(failed=True)
    os.close(writing)
    with open(reading, "rb") as stream:
        assert stream.read() == b"12\nb\nac\nde"


def test_credential_order(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {"reg.example": {"username": "file", "password": "p"}}}))
    environ = {
        "KANIKO_EXAMPLE_USER": "env", "KANIKO_EXAMPLE_PASSWORD": "p", "DOCKER_CONFIG": str(tmp_path),
        "CI_REGISTRY": "lab.test:5050", "CI_JOB_TOKEN": "t",
        "DOCKER_AUTH_CONFIG": json.dumps({"auths": {"own.example": {"username": "variable", "password": "p"}}}),
    }  # fmt: skip
    keychain = Keychain(request("--no-push", environ=environ).registry)
    users = [keychain.find(host, "a/b").username for host in ("reg.example", "own.example", "new.example")]
    assert users == ["file", "variable", "env"]
    assert keychain.find("lab.test:5050", "group/app").username == "gitlab-ci-token"
    assert Keychain(request("--no-push", "--credential-helpers=", environ=environ).registry).find("new.example") is None


def test_log_lines():
    assert log_line(LogStyle("text"), "info", 'RUN echo "x"', 0, 0) == (
        'time="1970-01-01T00:00:00Z" level=info msg="RUN echo \\"x\\""'
    )
    assert json.loads(log_line(LogStyle("json"), "warning", "x\ny", 0, 0)) == {
        "level": "warning", "msg": "x\ny", "time": "1970-01-01T00:00:00Z",
    }  # fmt: skip
    assert log_line(LogStyle(), "info", "hello", 7, 2).startswith("\x1b[36mINFO\x1b[0m[0005] hello ")
    assert "[1970-01-01T00:00:07Z]" in log_line(LogStyle(timestamps=True), "info", "hello", 7, 2)

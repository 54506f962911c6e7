"""The executor image in containers without rights, as pods and CI jobs have them: what it builds and writes."""

import json
import os
import re
import ssl
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support import readers
from support.container import Bind, Container
from support.executor import ExecutorImage, executor_image
from support.object_stores import running_s3
from support.places import EXAMPLES
from support.registry import PASSWORD, USER, Registry, docker_config, make_certificate, running_registry

from firkin import __version__
from firkin.cli.kaniko.files import write_digest_file
from firkin.errors import RegistryError
from firkin.registry.settings import RegistrySettings

pytestmark = [pytest.mark.root, pytest.mark.registry, pytest.mark.xdist_group("executor")]

DOCKERFILE = """\
FROM busybox
ARG VERSION=none
LABEL kind=file
RUN echo "version $VERSION" > /version && chown 1000:1000 /version && test -r /proc/self/status && echo x > /dev/null
COPY --chown=7:8 app.txt /srv/
CMD ["cat", "/version"]
"""


@pytest.fixture(scope="module")
def image(registry: Registry) -> ExecutorImage:
    return executor_image("debug", registry)


@pytest.fixture
def workspace(scratch: Path) -> Path:
    place = scratch / "workspace"
    place.mkdir()
    (place / "Dockerfile").write_text(DOCKERFILE)
    (place / "app.txt").write_text("app\n")
    return place


Box = Callable[..., Container]


@pytest.fixture
def box(image: ExecutorImage, scratch: Path, workspace: Path) -> Iterator[Box]:
    """Return containers of the executor image with the workspace; each has a root of its own."""
    made = 0

    def make(*binds: Bind) -> Container:
        nonlocal made
        made += 1
        return image.container(scratch / f"box-{made}", Bind(workspace, "/workspace", writable=True), *binds)

    yield make


def executor(container: Container, registry: Registry, *flags: str, **options) -> subprocess.CompletedProcess[str]:
    words = ["/kaniko/executor", f"--registry-mirror={registry.host}", *flags]
    return container.run(words, cwd="/workspace", **options)


def layers(registry: Registry, name: str, place: Path) -> list[dict[str, readers.Member]]:
    return readers.layer_listings(readers.pull_layout(registry, name, place))


def test_an_image_is_run_where_it_was_built(box: Box, registry: Registry) -> None:
    """In the same job: nothing can be mounted there, and the root of this container stays what it is."""
    script = f"""
    firkin build -q --registry-mirror docker.io={registry.url} -t app:1 /workspace >/dev/null
    firkin run --rm app:1
    firkin run --rm -i --entrypoint sh app:1 -c 'cat /srv/app.txt - && rm -r /srv && exit 7' </workspace/app.txt || echo $?
    firkin run --rm -d app:1 || echo $?
    test -x /kaniko/firkin && test ! -e /srv
    """
    done = box().run(["/busybox/sh", "-ec", script], cwd="/workspace")
    assert done.stdout == "version none\napp\napp\n7\n125\n", done.stderr
    assert "a container in the background cannot be had here" in done.stderr


def test_a_build_is_pushed_and_its_digest_written(box, registry, workspace, scratch):
    names = [registry.reference(name) for name in ("team/app:1", "team/app:2", "other/app")]
    result = executor(
        box(), registry, *(f"--destination={name}" for name in names), "--build-arg", "VERSION=3", "--label=kind=flag",
        "--digest-file=out/deep/digest", "--image-name-with-digest-file=/workspace/names", "--log-format=text",
        "--image-name-tag-with-digest-file", "/workspace/tagged", env={"BUILDER_OUTPUT": "/workspace"},
    )  # fmt: skip
    digest = (workspace / "out/deep/digest").read_text()
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    repositories = [name.rpartition(":")[0] if name.endswith(("1", "2")) else name for name in names]
    assert (workspace / "names").read_text() == "".join(f"{name}@{digest}\n" for name in repositories)
    assert (workspace / "tagged").read_text() == "".join(
        f"{repository}:{tag}@{digest}\n" for repository, tag in zip(repositories, ("1", "2", "latest"), strict=True)
    )
    outputs = [json.loads(line) for line in (workspace / "images").read_text().splitlines()]
    assert outputs == [{"name": name, "digest": digest} for name in names]
    assert 'level=info msg="Pushed' in result.stderr and result.stdout == ""
    for name in ("team/app:1", "team/app:2", "other/app:latest"):
        assert readers.skopeo_inspect(f"docker://{registry.reference(name)}")["Digest"] == digest
    config = registry.config("team/app:1")
    assert config["config"]["Labels"] == {"kind": "file"}
    made = layers(registry, "team/app:1", scratch / "pulled")
    version, app = made[-2]["version"], made[-1]["srv/app.txt"]
    assert (version.owner, app.owner) == ("1000/1000", "7/8")


@pytest.mark.parametrize("isolation", ["chroot", "inplace"])
def test_output_of_steps_is_untouched(box, registry, workspace, isolation):
    (workspace / "Dockerfile").write_text(
        "FROM busybox\nRUN printf 'one\\ntwo' && printf '\\033[1m' && echo wrong >&2 && exec >&- && printf more >&2\n"
        "USER 7\nRUN echo seven >/dev/stdout && echo eight >/dev/stderr; cat /dev/stdin\n"
    )
    flags = ("--no-push", "--digest-file=/dev/stdout", "-v", "error", f"--isolation={isolation}")
    result = executor(box(), registry, *flags)
    assert re.fullmatch("one\ntwo\x1b\\[1mseven\nsha256:[0-9a-f]{64}", result.stdout)
    assert result.stderr == "wrong\nmoreeight\n"


@pytest.mark.parametrize(("line", "code"), [("RUN exit 42", 42), ("RUN [\"/nothing\"]", 127), ("COPY missing /", 1)])
def test_exit_codes(box, registry, workspace, line, code):
    (workspace / "Dockerfile").write_text(f"FROM busybox\n{line}\n")
    result = executor(box(), registry, "--no-push", check=False)
    assert result.returncode == code and "error: " in result.stderr


def test_a_push_that_is_not_allowed_fails_before_the_build(box, registry, workspace):
    with running_registry(auth="basic") as private:
        result = executor(box(), registry, f"--destination={private.reference('team/app')}", check=False)
    assert result.returncode == 1 and "cannot push to" in result.stderr
    assert "RUN echo" not in result.stderr


@pytest.mark.parametrize("isolation", ["auto", "chroot", "inplace"])
def test_images_one_after_another_in_one_container(box, registry, workspace, scratch, isolation):
    (workspace / "Dockerfile.debian").write_text(
        "FROM debian:bookworm-slim\nRUN . /etc/os-release && echo $ID > /id && rm /etc/motd\n"
    )
    (workspace / "Dockerfile.busybox").write_text("FROM busybox\nRUN ls / > /list && test ! -e /id\n")
    script = "set -e\n" + "".join(
        f"executor --isolation={isolation} --registry-mirror={registry.host} -f Dockerfile.{kind} -v warn"
        f" --destination {registry.host}/{isolation}/{kind}:{turn} --digest-file /workspace/{kind}.{turn}"
        f" --reproducible --cache=false\ntest -x /busybox/sh && test -x /bin/sh && test ! -e /id\n"
        for turn, kind in enumerate(("busybox", "debian", "busybox", "debian"))
    )
    box().run(["/busybox/sh", "-c", script], cwd="/workspace")
    listings = layers(registry, f"{isolation}/debian:1", scratch / "debian")
    assert set(listings[-1]) == {"etc", "etc/.wh.motd", "id"} or set(listings[-1]) == {"etc/", "etc/.wh.motd", "id"}
    last = layers(registry, f"{isolation}/busybox:2", scratch / "busybox")[-1]
    assert set(last) - {"dev", "proc", "sys", "dev/", "proc/", "sys/"} == {"list"}
    assert (workspace / "busybox.0").read_text() == (workspace / "busybox.2").read_text()
    assert (workspace / "debian.1").read_text() == (workspace / "debian.3").read_text()


@pytest.mark.parametrize("isolation", ["auto", "chroot", "inplace"])
def test_credentials_are_out_of_reach_of_steps(box, workspace, scratch, registry, isolation):
    with running_registry(auth="basic") as private:
        config = scratch / "docker"
        config.mkdir()
        (config / "config.json").write_text(docker_config(private.host))
        searched = "find / -type f ! -path '/proc/*' ! -path '/sys/*' ! -path '/workspace/*'"
        (workspace / "Dockerfile").write_text(
            "FROM busybox\nRUN echo the-cloud''s-key >/planted; env; cat /kaniko/.docker/config.json /root/.docker/config.json; "
            "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; cat $p/root/kaniko/.docker/config.json; done; "
            f"{searched} -exec grep -lF the-cloud''s-key {{}} +; true\n"
        )
        container = box()
        secret = {"KANIKO_SECRET_EXAMPLE_PASSWORD": PASSWORD, "CI_JOB_TOKEN": PASSWORD, "AWS_SESSION_TOKEN": PASSWORD,
                  "AZURE_CLIENT_SECRET": PASSWORD, "GIT_TOKEN": PASSWORD,
                  "GOOGLE_APPLICATION_CREDENTIALS": "/gcp.json"}  # fmt: skip
        clouds = ("/root/.aws/credentials", "/gcp.json", "/root/.netrc", "/root/.git-credentials", "/root/.ssh/id_rsa",
                  "/var/run/secrets/kubernetes.io/serviceaccount/token")  # fmt: skip
        docker = json.dumps(json.loads((config / "config.json").read_text()))
        script = f"for f in {' '.join(clouds)}; do mkdir -p ${{f%/*}}; echo the-clouds-key > $f; done; " \
                 f"echo '{docker}' > /kaniko/.docker/config.json && executor --registry-mirror {registry.host} -d " \
                 f"{private.reference('team/app')} --isolation {isolation} && cat /kaniko/.docker/config.json > after" \
                 f" && cat {' '.join(clouds)} > clouds"
        result = container.run(["/bin/sh", "-c", script], cwd="/workspace", env=secret)
        assert private.has("team/app/manifests/latest") or private.manifest("team/app:latest")
    assert json.loads((workspace / "after").read_text()) == json.loads(docker)
    auth = json.loads(docker)["auths"][private.host]["auth"]
    for text in (PASSWORD, auth):
        assert text not in result.stdout and text not in result.stderr
    assert "PATH=" in result.stdout
    assert [line for line in result.stdout.splitlines() if line.startswith("/")] == ["/planted"]
    assert (workspace / "clouds").read_text() == "the-clouds-key\n" * len(clouds)


def test_credentials_on_mounts_are_not_given_to_steps(box, workspace, scratch, registry):
    (scratch / "pod").mkdir()
    (scratch / "pod/token").write_text("the-clouds-key\n")
    place = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
    (workspace / "Dockerfile").write_text(f"FROM busybox\nRUN ! cat {place}/token\n")
    executor(box(Bind(scratch / "pod", place, writable=True)), registry, "--no-push")
    assert (scratch / "pod/token").exists()


def test_a_pod_with_its_own_token_builds_in_place(box, workspace, scratch, registry):
    """Kubernetes mounts it into nearly every pod, below what is a link in most images."""
    (scratch / "pod").mkdir()
    (scratch / "pod/token").write_text("the-pods-token\n")
    (workspace / "Dockerfile").write_text(
        "FROM debian:bookworm-slim\nRUN test -L /var/run && test -e /proc/self/exe && echo made > /run/made\n"
    )
    mounts = Bind(scratch / "pod", "/var/run/secrets/kubernetes.io/serviceaccount")
    result = executor(box(mounts), registry, f"--destination={registry.host}/pod:1")
    assert "RUN steps can read `/run/secrets/kubernetes.io/serviceaccount/token`" in result.stderr
    made = {name.rstrip("/") for name in layers(registry, "pod:1", scratch / "image")[-1]}
    assert made == {"run", "run/made"}


def test_publish_job(box, workspace, scratch, registry):
    """The job of a small web site: config.json by a script, `latest` where there is no tag."""
    with running_registry(auth="basic") as hub:
        text = "ARG ALPINE_VERSION\nFROM busybox:${ALPINE_VERSION}\nRUN echo site > /index\n"
        (workspace / "Dockerfile").write_text(text)
        script = """\
            set -e
            mkdir -p /kaniko/.docker
            AUTH=$(printf '%s:%s' "$HUB_USER" "$HUB_PASSWORD" | base64 | tr -d '\\n')
            echo "{\\"auths\\":{\\"$HUB\\":{\\"auth\\":\\"$AUTH\\"}}}" > /kaniko/.docker/config.json
            if [ -z "$CI_COMMIT_TAG" ]; then IMAGE_TAG=latest; else IMAGE_TAG=$CI_COMMIT_TAG; fi
            /kaniko/executor --context "$CI_PROJECT_DIR" --build-arg ALPINE_VERSION=1.35 \
                --dockerfile "$CI_PROJECT_DIR/Dockerfile" --destination "$HUB/mywebsite:$IMAGE_TAG"
        """
        env = {"HUB_USER": USER, "HUB_PASSWORD": PASSWORD, "HUB": hub.host, "CI_PROJECT_DIR": "/workspace",
               "CI_COMMIT_TAG": "", "KANIKO_REGISTRY_MIRROR": registry.host}  # fmt: skip
        box().run(["/bin/sh", "-c", script], cwd="/", env=env)
        box().run(["/bin/sh", "-c", script], cwd="/", env={**env, "CI_COMMIT_TAG": "v1"})
        assert hub.manifest("mywebsite:latest")["layers"] and hub.manifest("mywebsite:v1")["layers"]


def test_artefact_job(box, workspace, registry):
    """The job that keeps a tar: a Dockerfile in a directory, no push."""
    (workspace / "deployment/php").mkdir(parents=True)
    (workspace / "deployment/php/Dockerfile").write_text(DOCKERFILE)
    script = """\
        set -e
        mkdir -p tar_images
        /kaniko/executor --context "$CI_PROJECT_DIR" --dockerfile deployment/php/Dockerfile \
            --destination registry/osdo/osdo-app:$CI_COMMIT_TAG --no-push --tar-path tar_images/osdo_app.tar
    """
    env = {"CI_PROJECT_DIR": "/workspace", "CI_COMMIT_TAG": "v2", "KANIKO_REGISTRY_MIRROR": registry.host}
    box().run(["/bin/sh", "-c", script], cwd="/workspace", env=env)
    archive = workspace / "tar_images/osdo_app.tar"
    with tarfile.open(archive) as tar:
        (entry,) = json.load(tar.extractfile("manifest.json"))
        names = tar.getnames()
    assert entry["RepoTags"] == ["registry/osdo/osdo-app:v2"] and entry["Config"].startswith("sha256:")
    assert all(re.fullmatch(r"[0-9a-f]{64}\.tar\.gz", name) for name in entry["Layers"])
    assert names == [entry["Config"], *entry["Layers"], "manifest.json"]
    assert readers.skopeo_inspect(f"docker-archive:{archive}:registry/osdo/osdo-app:v2")["Labels"] == {"kind": "file"}


def test_an_artefact_is_pushed_later(box, workspace, registry):
    flags = ("--no-push", "--tar-path=app.tar", "--oci-layout-path=layout", "--digest-file=digest")
    executor(box(), registry, *flags)
    digest = (workspace / "digest").read_text()
    for source in ("app.tar", "layout"):
        name = registry.reference(f"later/{source}:1")
        box().run(["/kaniko/executor", "push", source, "--destination", name], cwd="/workspace")
        assert readers.skopeo_inspect(f"docker://{name}")["Labels"] == {"kind": "file"}
    assert readers.skopeo_inspect(f"docker://{registry.reference('later/layout:1')}")["Digest"] == digest


def test_the_cache_in_a_repository(box, registry, workspace):
    flags = ("--cache=true", f"--cache-repo={registry.reference('team/cached/cache')}", "--log-format=text")
    destination = f"--destination={registry.reference('team/cached:1')}"
    first = executor(box(), registry, destination, *flags)
    assert "Using caching version of cmd: RUN" not in first.stderr
    before = len(registry.requests())
    second = executor(box(), registry, destination, *flags)
    asked = [(method, path) for method, path, _ in registry.requests()[before:]]
    layers = {layer["digest"] for layer in registry.manifest("team/cached:1")["layers"]}
    moved = [item for item in asked if item[0] != "HEAD" and any(digest in item[1] for digest in layers)]
    assert moved == [] and not any(method in ("PUT", "PATCH") for method, _ in asked), asked
    assert all(f"Using caching version of cmd: {word}" in second.stderr for word in ("RUN", "COPY"))


def test_a_warm_directory_saves_pulls(box, registry, scratch, workspace):
    cache = scratch / "cache"
    cache.mkdir()
    warm = box(Bind(cache, "/cache", writable=True))
    words = ["/kaniko/warmer", f"--registry-mirror={registry.host}", "--image=busybox", "--image=no/such/image"]
    result = warm.run(words, cwd="/workspace")
    assert "Failed to warm docker.io/no/such/image" in result.stderr
    assert readers.skopeo_inspect(f"oci:{cache}")["Layers"]
    before = len(registry.requests())
    executor(box(Bind(cache, "/cache")), registry, "--no-push", "--tar-path=x.tar")
    asked = [path for method, path, _ in registry.requests()[before:] if method == "GET" and "/blobs/" in path]
    layer = registry.manifest("library/busybox:latest")["layers"][0]["digest"]
    assert not any(layer in path for path in asked)


def test_any_user_may_build_without_run(box, registry, workspace):
    (workspace / "Dockerfile").write_text("FROM busybox\nCOPY app.txt /\n")
    workspace.chmod(0o777)
    container = box().as_user(12345)
    executor(container, registry, f"--destination={registry.reference('team/user:1')}", "--digest-file=digest")
    assert registry.manifest("team/user:1")["layers"] and (workspace / "digest").stat().st_uid == 12345


def test_extra_certificates_are_read(box, workspace, scratch, registry):
    with running_registry(tls=True) as private:
        certificate = (private.storage.parent / "tls.crt").read_text()
        (workspace / "ca.pem").write_text(certificate)
        script = "{add}\nexecutor --registry-mirror " + f"{registry.host} -d {private.reference('team/tls')}"
        words = ["/bin/sh", "-c"]
        refused = box().run([*words, script.format(add="")], cwd="/workspace", check=False)
        assert refused.returncode == 1 and "certificate" in refused.stderr
        for add in ("cat ca.pem >> /kaniko/ssl/certs/ca-certificates.crt", "cp ca.pem /kaniko/ssl/certs/more.crt"):
            box().run([*words, script.format(add=add)], cwd="/workspace")


def test_a_context_from_standard_input(box, registry, workspace):
    """The Dockerfile of the working directory goes before that of the context, as does its ignore file."""
    made = subprocess.run(["tar", "-cz", "-C", str(workspace), "."], capture_output=True, check=True).stdout
    (workspace / "Dockerfile").write_text("FROM busybox\nCOPY . /files\nRUN ls /files\n")
    (workspace / "Dockerfile.dockerignore").write_text("app.txt\n")
    for cwd, listed in (("/", ""), ("/workspace", "Dockerfile\n")):
        process = subprocess.run(
            box().command(["/kaniko/executor", "--context=tar://stdin", f"--registry-mirror={registry.host}",
                           "--no-push", "--context-sub-path=."], cwd=cwd, env=box().env),
            input=made, capture_output=True, timeout=120,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        assert process.stdout.decode() == listed


def test_a_context_from_an_object_store(box, registry, workspace):
    """The keys lie in a profile, and are gone when the step looks for them."""
    (workspace / "Dockerfile").write_text("FROM busybox\nCOPY app.txt /\nRUN cat /app.txt; env; ! ls /root/.aws/*\n")
    made = subprocess.run(["tar", "-cz", "-C", str(workspace), "."], capture_output=True, check=True).stdout
    (workspace / "Dockerfile").unlink()
    with running_s3() as store:
        store.put("app/context.tar.gz", made)
        profile = f"[default]\naws_access_key_id={store.environ['AWS_ACCESS_KEY_ID']}\n" \
                  f"aws_secret_access_key={store.environ['AWS_SECRET_ACCESS_KEY']}\n"
        script = f"mkdir /root/.aws && echo '{profile}' > /root/.aws/credentials && executor --isolation=inplace" \
                 f" --context={store.address('app/context.tar.gz')} --registry-mirror={registry.host} --no-push"
        env = {key: value for key, value in store.environ.items() if "ACCESS_KEY" not in key}
        said = box().run(["/bin/sh", "-c", script], cwd="/workspace", env=env).stdout
    assert said.startswith("app\n") and not any(name in said for name in env)


def test_a_single_snapshot_is_one_layer_with_the_same_files(box, registry, workspace, scratch):
    (workspace / "Dockerfile").write_text(
        "FROM busybox\nRUN mkdir /d && echo a > /d/a && ln /d/a /d/b && echo x > /gone && rm /etc/group\n"
        "COPY app.txt /d/a\nRUN rm /gone && echo c > /d/c\n"
    )
    container = box()
    for name, flag in (("one", "true"), ("several", "false")):
        executor(container, registry, f"--destination={registry.reference(f'squash/{name}:1')}",
                 f"--single-snapshot={flag}")  # fmt: skip
    below = len(registry.manifest("library/busybox:latest")["layers"])
    (only,) = layers(registry, "squash/one:1", scratch / "one")[below:]
    assert {name.rstrip("/") for name in only} - {"dev", "proc", "sys"} == {
        "d", "d/a", "d/b", "d/c", "etc", "etc/.wh.group",
    }  # fmt: skip
    assert len(layers(registry, "squash/several:1", scratch / "several")) == below + 3
    history = registry.config("squash/one:1")["history"]
    assert sum(not line.get("empty_layer") for line in history) == below + 1


def test_the_dry_run_prints_the_plan(box, registry, workspace):
    result = executor(box(), registry, "--no-push", "--dryrun", "-v=error")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["FROM", "RUN", "COPY"]


def test_what_the_images_hold(image, registry):
    latest = executor_image("latest", registry)
    assert image.config["Entrypoint"] == latest.config["Entrypoint"] == ["/kaniko/executor"]
    assert image.config["WorkingDir"] == "/workspace"
    env = dict(item.split("=", 1) for item in latest.config["Env"])
    assert (env["HOME"], env["USER"], env["PATH"]) == ("/root", "root", "/usr/local/bin:/kaniko")
    assert (env["SSL_CERT_DIR"], env["DOCKER_CONFIG"]) == ("/kaniko/ssl/certs", "/kaniko/.docker/")
    assert os.path.lexists(image.files / "bin/sh") and (image.files / "busybox/sh").is_symlink()
    assert not os.path.lexists(latest.files / "bin") and not (latest.files / "busybox").exists()
    for name in ("executor", "warmer"):
        assert (latest.files / "kaniko" / name).stat().st_mode & 0o111 == 0o111
    assert (latest.files / "kaniko").stat().st_mode & 0o7777 == 0o777
    assert (latest.files / "kaniko/ssl/certs/ca-certificates.crt").stat().st_size > 100_000
    assert latest.archive.stat().st_size < 40_000_000


def test_the_image_is_kept_under_names_with_a_version(registry):
    latest = executor_image("latest", registry)
    said = (latest.archive.parent / "sizes").read_text()
    for target, suffix in (("latest", ""), ("debug", "-debug"), ("warmer", "-warmer")):
        kept = f"{target}: kept as firkin/executor:{target} and firkin/executor:v{__version__}{suffix} ("
        assert kept in said
        assert f"docker.io/firkin/executor:{target}" in (latest.archive.parent / "names").read_text()
    assert f"firkin push firkin/executor:v{__version__} REGISTRY/executor:v{__version__}" in said
    with tarfile.open(latest.archive.with_name("executor-warmer.tar")) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(entry["Config"]))
    assert config["config"]["Entrypoint"] == ["/kaniko/warmer"]


def test_the_runtime_loads_nothing_of_the_root(image, scratch, workspace):
    """A hostile root: libraries, a preload list and name services that end the process when they are loaded."""
    evil = scratch / "evil"
    for directory in ("etc", "lib", "lib64", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"):
        (evil / directory).mkdir(parents=True)
    library = scratch / "evil.so"
    code = '__attribute__((constructor)) static void run(void) { __builtin_trap(); }'
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), "-xc", "-"], input=code, text=True, check=True)
    for directory in ("lib", "lib64", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"):
        for name in ("libc.so.6", "libm.so.6", "libz.so.1", "libnss_evil.so.2", "ld-linux-x86-64.so.2"):
            (evil / directory / name).write_bytes(library.read_bytes())
    (evil / "etc/ld.so.preload").write_text("/lib/libc.so.6\n")
    (evil / "etc/nsswitch.conf").write_text("passwd: evil\nhosts: evil\n")
    binds = (Bind(workspace, "/workspace"), *(Bind(evil / name, f"/{name}") for name in ("lib", "lib64", "usr", "etc")))
    words = ["/kaniko/executor", "--destination=nowhere.invalid/app:1"]
    result = image.container(scratch / "box", *binds).run(words, cwd="/workspace", check=False)
    assert result.returncode == 1 and "nowhere.invalid" in result.stderr + result.stdout
    assert image.container(scratch / "box2", *binds).run(["/kaniko/firkin", "info"]).returncode == 0


@pytest.mark.parametrize("example", ["webserver", "python", "node"])
def test_the_examples(image, language_registry, scratch, example):
    container = image.container(scratch / "box", Bind(EXAMPLES / example, "/workspace"))
    name = language_registry.reference(f"examples/{example}:1")
    flags = (f"--destination={name}", "--build-arg=COMMIT=4f9e2ab", "-v=warn", "--digest-file=/digest")
    executor(container, language_registry, *flags)
    assert readers.skopeo_inspect(f"docker://{name}")["Digest"] == (container.written / "digest").read_text()


class _Taker(BaseHTTPRequestHandler):
    taken: list[tuple[str, str, bytes]] = []

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200 if self.path == "/ok" else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_digest_is_put_to_a_server(scratch):
    make_certificate(scratch / "key", scratch / "crt")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(scratch / "crt", scratch / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"https://127.0.0.1:{server.server_port}"
    settings = RegistrySettings(ca_files=(("*", str(scratch / "crt")),))
    try:
        write_digest_file("--digest-file", f"{url}/ok", "sha256:1", "/", settings)
        assert _Taker.taken == [("/ok", "text/plain", b"sha256:1")]
        with pytest.raises(RegistryError, match=r"flag `--digest-file`: the server did not take the digest.*403"):
            write_digest_file("--digest-file", f"{url}/refused", "sha256:1", "/", settings)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""examples/ci: every GitLab job is run, manifests fit the API's schema and their containers are run, as is the task."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from support import readers
from support.container import Bind
from support.executor import ExecutorImage, executor_image
from support.pipelines import Place, containers_of, git_server, gitlab_jobs, run_gitlab_job, run_pod, run_tekton_step
from support.places import EXAMPLES
from support.registry import PASSWORD, USER, Registry, _bcrypt, docker_config, running_registry

pytestmark = [pytest.mark.root, pytest.mark.registry, pytest.mark.xdist_group("executor"), pytest.mark.clients]

CI = EXAMPLES / "ci"
JOBS = gitlab_jobs(CI / "gitlab-ci.yml")
COMMIT = "4f9e2ab1"
TOKEN = "job-token"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@pytest.fixture(scope="module")
def image(language_registry: Registry) -> ExecutorImage:
    return executor_image("debug", language_registry)


@pytest.fixture(scope="module")
def private() -> Iterator[Registry]:
    """The team's registry: one account, and the token of jobs."""
    with running_registry(auth="basic") as started:
        accounts = started.storage.parent / "htpasswd"
        accounts.write_text(f"{USER}:{_bcrypt(PASSWORD)}\ngitlab-ci-token:{_bcrypt(TOKEN)}\n")
        yield started


@pytest.fixture
def project(scratch: Path) -> Path:
    return Path(shutil.copytree(CI / "site", scratch / "site"))


@pytest.fixture
def place(image: ExecutorImage, scratch: Path, language_registry: Registry, private: Registry) -> Place:
    return Place(image, scratch / "box", {
        "KANIKO_REGISTRY_MIRROR": language_registry.host,
        "CI_REGISTRY": private.host,
        "CI_REGISTRY_IMAGE": private.reference("team/site"),
        "CI_REGISTRY_USER": USER,
        "CI_REGISTRY_PASSWORD": PASSWORD,
        "CI_JOB_TOKEN": TOKEN,
        "CI_COMMIT_TAG": "",
        "CI_COMMIT_REF_SLUG": "main",
        "CI_COMMIT_SHORT_SHA": COMMIT,
    })  # fmt: skip


def test_every_job_is_run_here():
    assert set(JOBS) == {
        "publish", "with-job-token", "artefact", "cached", "several-images", "platforms: [amd64]", "platforms: [arm64]",
        "all-platforms",
    }  # fmt: skip


def test_publish(place, project, private):
    run_gitlab_job(JOBS["publish"], place, project)
    config = private.config("team/site/mywebsite:latest")
    assert config["config"]["User"] == "site" and config["config"]["Labels"]["org.opencontainers.image.title"] == "site"


def test_with_job_token(place, project, private):
    run_gitlab_job(JOBS["with-job-token"], place, project)
    assert private.manifest(f"team/site:{COMMIT}")["layers"]


def test_artefact(place, project):
    run_gitlab_job(JOBS["artefact"], place, project)
    archive = project / "tar_images/osdo_app.tar"
    found = readers.skopeo_inspect(f"docker-archive:{archive}")
    assert found["Architecture"] == "amd64" or found["Architecture"] == "arm64"
    assert JOBS["artefact"]["artifacts"]["paths"] == ["tar_images/"]


def test_cached(place, project, private):
    first = run_gitlab_job(JOBS["cached"], place, project)
    digest = (project / "digest.txt").read_text()
    again = Place(place.image, place.box.with_name("again"), place.env)
    second = run_gitlab_job(JOBS["cached"], again, project)
    assert "Using caching version of cmd: RUN" not in first and "Using caching version of cmd: RUN" in second
    assert (project / "digest.txt").read_text() == digest and DIGEST.fullmatch(digest)


def test_several_images(place, project, private):
    run_gitlab_job(JOBS["several-images"], place, project)
    assert private.config("team/site/several:image-")["config"]["User"] == "site"
    assert private.config("team/site/several:imagedeployment-php")["config"]["WorkingDir"] == "/srv"


def test_platforms(place, project, private, scratch, language_registry):
    run_gitlab_job(JOBS["platforms: [amd64]"], place, project)
    # The other machine: what runs there is not here, so its image has no RUN.
    other = scratch / "other"
    other.mkdir()
    (other / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    run_gitlab_job(JOBS["platforms: [arm64]"], Place(place.image, scratch / "arm", place.env), other)
    run_gitlab_job(JOBS["all-platforms"], Place(place.image, scratch / "join", place.env), project)
    index = private.manifest("team/site:multi")
    assert {entry["platform"]["architecture"] for entry in index["manifests"]} == {"amd64", "arm64"}


def digest_of(registry: Registry, name: str) -> str:
    """Return the digest of what a name of the registry points to."""
    repository, _, tag = name.rpartition(":")
    return "sha256:" + hashlib.sha256(registry.get(f"{repository}/manifests/{tag}")).hexdigest()


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((CI / name).read_text()))


@pytest.mark.parametrize("name", ["kubernetes-job.yaml", "kubernetes-pod.yaml"])
def test_manifests_fit_the_schema(name):
    for document in documents(name):
        kubernetes_validate.validate(document, "1.33", strict=True)


@pytest.fixture
def credentials(scratch: Path, private: Registry) -> Path:
    """The Secret as a kubelet mounts it: read-only, the key under the name that the manifest gives it."""
    place = scratch / "docker"
    place.mkdir()
    (place / "config.json").write_text(docker_config(private.host))
    return place


def test_the_job(place, project, private, credentials, scratch):
    secret, job = documents("kubernetes-job.yaml")
    volume = containers_of(job)["volumes"][0]["secret"]
    assert volume["secretName"] == secret["metadata"]["name"] and volume["items"][0]["path"] == "config.json"
    assert json.loads(secret["stringData"][volume["items"][0]["key"]])["auths"]
    with git_server(project, scratch / "repository") as (host, _):
        env = {"KANIKO_REGISTRY_MIRROR": place.env["KANIKO_REGISTRY_MIRROR"], "GIT_PULL_METHOD": "http"}
        message = run_pod(
            containers_of(job), Place(place.image, place.box, env), {"docker": credentials},
            {"git.example.com": host, "registry.example.com": private.host},
        )  # fmt: skip
    assert DIGEST.fullmatch(message)
    assert digest_of(private, "team/site:1.0") == message


def test_the_pod(place, project, private, credentials, scratch):
    (pod,) = documents("kubernetes-pod.yaml")
    (scratch / "certificates").mkdir()
    env = {"KANIKO_REGISTRY_MIRROR": place.env["KANIKO_REGISTRY_MIRROR"]}
    sources = {"context": project, "docker": credentials, "certificates": scratch / "certificates"}
    change = {"registry.example.com": private.host, "team/site:1.0": "team/pod:1.0"}
    message = run_pod(containers_of(pod), Place(place.image, place.box, env), sources, change)
    assert digest_of(private, "team/pod:1.0") == message


def test_the_task(place, project, private, credentials):
    (task,) = documents("tekton-task.yaml")
    params = {"IMAGE": private.reference("team/task:1"), "EXTRA_ARGS": ["--label=a=b,c", "--cache=false"]}
    env = {"KANIKO_REGISTRY_MIRROR": place.env["KANIKO_REGISTRY_MIRROR"]}
    results = run_tekton_step(
        task, params, Place(place.image, place.box, env), {"source": project, "dockerconfig": credentials}
    )
    assert results == {"IMAGE_DIGEST": digest_of(private, "team/task:1")}
    assert private.config("team/task:1")["config"]["Labels"]["a"] == "b,c"


def test_the_workflow(place, project, private, scratch, language_registry):
    """The script of the GitHub job, with this registry and repository in place of GitHub's."""
    workflow = yaml.safe_load((CI / "github-actions.yml").read_text())
    (step,) = workflow["jobs"]["in-a-container"]["steps"]
    assert workflow["jobs"]["in-a-container"]["defaults"]["run"]["shell"] == "/busybox/sh -e {0}"
    with git_server(project, scratch / "repository") as (host, commit):
        script = step["run"].replace("github.com", host).replace("ghcr.io", private.host)
        (scratch / "script.sh").write_text(script)
        env = {
            "GITHUB_REPOSITORY": "team/site", "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": commit,
            "GIT_PULL_METHOD": "http", "GIT_TOKEN": "t", "KANIKO_REGISTRY_MIRROR": language_registry.host,
            "KANIKO_1_USER": USER, "KANIKO_1_PASSWORD": PASSWORD,
        }  # fmt: skip
        container = place.image.container(place.box, Bind(scratch / "script.sh", "/script.sh"))
        container.run(["/busybox/sh", "-e", "/script.sh"], env=env)
    assert private.manifest("team/site:latest")["layers"]

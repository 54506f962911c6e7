"""Runs jobs of GitLab CI, containers of Kubernetes manifests and Tekton steps in containers, as their runners do."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from support.container import Bind
from support.executor import ExecutorImage


@dataclass(frozen=True)
class Place:
    """Where a job runs: the image, a directory for the changes of its container, variables of its environment."""

    image: ExecutorImage
    box: Path
    env: Mapping[str, str]


def gitlab_jobs(path: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs of a pipeline, `extends` resolved, one for each row of a matrix."""
    document = yaml.safe_load(path.read_text())
    jobs = {}
    for name, job in document.items():
        if name.startswith(".") or not isinstance(job, dict) or "script" not in job:
            continue
        merged = {**document.get(job.get("extends", ""), {}), **job}
        merged["variables"] = {**document.get("variables", {}), **merged.get("variables", {})}
        for suffix, variables in _matrix(merged):
            jobs[name + suffix] = {**merged, "variables": {**merged["variables"], **variables}}
    return jobs


def _matrix(job: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    rows = job.get("parallel", {}).get("matrix", []) if isinstance(job.get("parallel"), dict) else []
    for row in rows:
        for key, values in row.items():
            for value in values:
                yield f": [{value}]", {key: value}
    if not rows:
        yield "", {}


def run_gitlab_job(job: dict[str, Any], place: Place, project: Path) -> str:
    """Run a job's script in its image with the project's files; return its output."""
    assert job["image"]["entrypoint"] == [""]
    project_dir = "/builds/team/site"
    # Like the runner: one shell that stops at the first line that fails.
    lines = [*job.get("before_script", []), *job["script"]]
    script = "set -eo pipefail\n" + "\n".join(lines)
    container = place.image.container(place.box, Bind(project, project_dir, writable=True))
    env = {**place.env, **job["variables"], "CI_PROJECT_DIR": project_dir}
    result = container.run(["/bin/sh", "-c", script], cwd=project_dir, env=env)
    return result.stdout + result.stderr


def containers_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the pod's part of a Pod or a Job."""
    spec: dict[str, Any] = document["spec"]
    return spec["template"]["spec"] if document["kind"] == "Job" else spec


def run_pod(spec: dict[str, Any], place: Place, sources: Mapping[str, Path], change: Mapping[str, str]) -> str:
    """Run the container of a pod like a kubelet; `sources` are the volumes by name. Returns its last message.

    `change` replaces texts in the arguments, since the tests use other host names than the examples.
    """
    (container,) = spec["containers"]
    assert spec["restartPolicy"] == "Never" and "command" not in container
    message = place.box.with_name(place.box.name + "-termination-log")
    message.touch()
    binds = [Bind(message, "/dev/termination-log", writable=True)]
    for mount in container["volumeMounts"]:
        binds.append(Bind(sources[mount["name"]], mount["mountPath"], writable=not mount.get("readOnly", False)))
    args = [substitute(text, change) for text in container["args"]]
    env = {**place.env, **{item["name"]: item["value"] for item in container.get("env", [])}}
    box = place.image.container(place.box, *binds)
    box.run([*place.image.config["Entrypoint"], *args], cwd=place.image.config["WorkingDir"], env=env)
    return message.read_text()


def run_tekton_step(
    task: dict[str, Any], params: Mapping[str, Any], place: Place, workspaces: Mapping[str, Path]
) -> dict[str, str]:
    """Run the one step of a task and return its results."""
    spec = task["spec"]
    (step,) = spec["steps"]
    given = {item["name"]: item["default"] for item in spec["params"] if "default" in item} | dict(params)
    paths = {item["name"]: item.get("mountPath", f"/workspace/{item['name']}") for item in spec["workspaces"]}
    results = place.box.with_name(place.box.name + "-results")
    results.mkdir(parents=True)
    values = {f"params.{name}": value for name, value in given.items()}
    values |= {f"workspaces.{name}.path": path for name, path in paths.items()}
    values |= {f"results.{item['name']}.path": f"/tekton/results/{item['name']}" for item in spec["results"]}
    args: list[str] = []
    for text in step["args"]:
        whole = re.fullmatch(r"\$\(([^)]+)\)", text)
        if whole and isinstance(values[whole[1]], list):
            args += values[whole[1]]
        else:
            args.append(re.sub(r"\$\(([^)]+)\)", lambda match: str(values[match[1]]), text))
    binds = [Bind(source, paths[name], writable=name == "source") for name, source in workspaces.items()]
    box = place.image.container(place.box, *binds, Bind(results, "/tekton/results", writable=True))
    cwd = step["workingDir"].replace("$(workspaces.source.path)", paths["source"])
    box.run([*place.image.config["Entrypoint"], *args], cwd=cwd, env=place.env)
    return {path.name: path.read_text() for path in results.iterdir()}


def substitute(text: str, change: Mapping[str, str]) -> str:
    """Replace every key by its value."""
    for old, new in change.items():
        text = text.replace(old, new)
    return text


@contextmanager
def git_server(files: Path, place: Path) -> Iterator[tuple[str, str]]:
    """Serve the files as the repository `/team/site.git`; yields HOST:PORT and the commit of `main`."""
    from wsgiref.simple_server import make_server

    from dulwich import porcelain
    from dulwich.server import DictBackend
    from dulwich.web import HTTPGitApplication, WSGIRequestHandlerLogger

    class Quiet(WSGIRequestHandlerLogger):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    place.mkdir()
    for path in files.rglob("*"):
        if path.is_file():
            copy = place / path.relative_to(files)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    repository = porcelain.init(str(place))
    porcelain.add(repository, [str(path) for path in place.rglob("*") if path.is_file() and ".git" not in path.parts])
    commit = porcelain.commit(repository, message=b"site", author=b"A <a@example.com>", committer=b"A <a@example.com>")
    repository.refs[b"refs/heads/main"] = commit
    application = HTTPGitApplication(DictBackend({"/team/site.git": repository}))
    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", commit.decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

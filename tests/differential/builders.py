"""Runs firkin, and a BuildKit: that of dockerd (through the docker command line), or one that buildctl reaches. Does I/O."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from differential.cases import Case
from differential.images import Made, read_archive

PATIENCE_S = 120


class Builder(Protocol):
    """Builds a case; `version` is what the table of known differences goes by."""

    version: tuple[int, ...]

    def build(self, case: Case, dockerfile: Path, context: Path, place: Path) -> Made:
        """Return what came of it."""


def _arguments(case: Case) -> list[str]:
    return [word for name, value in case.arguments.items() for word in ("--build-arg", f"{name}={value}")]


def _run(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, errors="replace", timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
    )  # fmt: skip


class Firkin:
    """This firkin, in a store of its own; `registry` (HOST:PORT) has library/busybox."""

    version = ()

    def __init__(self, store: Path, registry: str) -> None:
        self._words = [
            sys.executable, "-m", "firkin", "build", "--root", store, "-q",
            "--registry-mirror", f"docker.io=http://{registry}",
        ]  # fmt: skip

    def build(self, case: Case, dockerfile: Path, context: Path, place: Path) -> Made:
        output = place / "firkin.tar"
        done = _run(*self._words, *_arguments(case), "-f", dockerfile, "-o", f"type=docker,dest={output}", context)
        if done.returncode == 70:
            return Made(error=f"internal error: {done.stderr}")
        if done.returncode:
            return Made(error=done.stderr.strip() or "?")
        return read_archive(output)


class Docker:
    """The BuildKit in a dockerd, through `docker build`."""

    def __init__(self, host: str, command: str) -> None:
        self._command = command
        self._env = {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "1"}
        told = _run(command, "version", "--format", "{{.Server.Version}}", env=self._env)
        self.version = tuple(int(part) for part in told.stdout.strip().split("+")[0].split(".") if part.isdigit())

    def build(self, case: Case, dockerfile: Path, context: Path, place: Path) -> Made:
        name = f"differential:{os.getpid()}-{case.name}"
        words = ["build", "-q", "--network", "none", *_arguments(case), "-t", name, "-f", str(dockerfile), str(context)]
        done = _run(self._command, *words, env=self._env)
        if done.returncode:
            return Made(error=done.stderr.strip() or "?")
        output = place / "docker.tar"
        saved = _run(self._command, "save", "-o", output, name, env=self._env)
        _run(self._command, "rmi", "-f", name, env=self._env)
        if saved.returncode:
            raise RuntimeError(f"docker save: {saved.stderr}")
        return read_archive(output)


class Buildctl:
    """A buildkitd that buildctl finds (BUILDKIT_HOST)."""

    def __init__(self, command: str) -> None:
        self._command = command
        told = _run(command, "debug", "info").stdout + _run(command, "--version").stdout
        number = next(word for word in told.split() if word.lstrip("v")[:1].isdigit() and "." in word)
        self.version = (100, *(int(part) for part in number.lstrip("v").split("-")[0].split(".")))

    def build(self, case: Case, dockerfile: Path, context: Path, place: Path) -> Made:
        output = place / "buildkit.tar"
        arguments = [word for name, value in case.arguments.items() for word in ("--opt", f"build-arg:{name}={value}")]
        done = _run(
            self._command, "build", "--progress=plain", "--frontend=dockerfile.v0", *arguments,
            "--local", f"context={context}", "--local", f"dockerfile={dockerfile.parent}",
            "--output", f"type=docker,name=differential,dest={output}",
        )  # fmt: skip
        return Made(error=done.stderr.strip() or "?") if done.returncode else read_archive(output)


def docker_command() -> str | None:
    """Return the docker command line that brings its own BuildKit client: a newer one needs buildx beside it."""
    for command in ("/usr/bin/docker", shutil.which("docker")):
        if command and os.access(command, os.X_OK):
            told = _run(command, "version", "--format", "{{.Client.Version}}").stdout.strip()
            if (told and int(told.split(".")[0]) < 23) or _run(command, "buildx", "version").returncode == 0:
                return command
    return None


def missing(*, own: bool = False) -> str:
    """Return why there is no BuildKit to compare with, or nothing; `own`: one of our own is wanted."""
    if not own and shutil.which("buildctl") and os.environ.get("BUILDKIT_HOST"):
        return ""
    if docker_command() is None:
        return "docker.io is not installed"
    if not own and os.environ.get("DOCKER_HOST"):
        return ""
    if not shutil.which("dockerd"):
        return "dockerd is not installed"
    return "" if os.geteuid() == 0 else "starting a dockerd needs root"


@contextmanager
def running_buildkit(place: Path, registry: str, *, own: bool = False) -> Iterator[Builder]:
    """Yield the BuildKit there is: buildctl's, that of DOCKER_HOST, or (with `own`, only) a dockerd below `place`.

    Others than our own must take busybox from the same registry: a mirror of the Hub for them.
    """
    buildctl = shutil.which("buildctl")
    if not own and buildctl and os.environ.get("BUILDKIT_HOST"):
        yield Buildctl(buildctl)
        return
    command = docker_command()
    assert command is not None, missing()
    if not own and (host := os.environ.get("DOCKER_HOST")):
        yield Docker(host, command)
        return
    with running_dockerd(place, registry, command) as host:
        yield Docker(host, command)


@contextmanager
def running_dockerd(place: Path, registry: str, command: str, *more: str) -> Iterator[str]:
    """Yield the address of a dockerd with its files below `place`; the Hub's images come from `registry`."""
    host = f"unix://{place}/docker.sock"
    words = [
        "dockerd", "-H", host, "--data-root", f"{place}/data", "--exec-root", f"{place}/run", "-p", f"{place}/pid",
        "--bridge", "none", "--iptables=false", "--insecure-registry", registry, "--registry-mirror", f"http://{registry}",
        *more,
    ]  # fmt: skip
    with open(place / "dockerd.log", "wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(300):
            if _run(command, "-H", host, "info").returncode == 0:
                break
            if daemon.poll() is not None:
                raise RuntimeError(f"dockerd ended: {(place / 'dockerd.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield host
    finally:
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        shutil.rmtree(place / "data", ignore_errors=True)

"""firkin and its peers behind one shape: an empty store, a build, a build that is pushed.

A peer takes part when it is installed: buildah, podman, dockerd (its BuildKit), buildkitd with buildctl, the Kaniko
executor (in a chroot of its own: it builds on `/`). Daemons are started warm and not measured themselves, only what
they do. Everybody pulls from and pushes to the registry on loopback, and keeps what it makes on the same disk.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from measure import CommandFailed, Usage, measure
from support.accounts import Firkin, make_firkin

# A command beyond this is stopped and its builder left out of the workload.
PEER_TIMEOUT_S = 240


class Missing(Exception):
    """The builder is not here or does not start; the text says why."""


class Builder:
    """A way to build. `fresh` empties the store; `build` builds a directory and pushes when a name is given."""

    name = ""

    def __init__(self, place: Path, registry: str, base: str) -> None:
        self.place = place
        self.registry = registry
        self.base = base
        self.stores = 0
        self.stack = ExitStack()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.new_directory("home")),
            "TMPDIR": str(self.new_directory("tmp")),
            "LANG": "C.UTF-8",
        }
        self.start()

    def new_directory(self, name: str) -> Path:
        path = self.place / f"{self.name}-{name}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self) -> None:
        """Find what the builder needs; raises Missing."""

    def version(self) -> str:
        return ""

    def fresh(self) -> None:
        """Go on with an empty store; the old one stays where it is."""
        self.stores += 1

    def build(self, context: Path, push: str = "", *, cache: bool = True) -> Usage:
        raise NotImplementedError

    def close(self) -> None:
        self.stack.close()

    def need(self, *programs: str) -> None:
        for program in programs:
            if shutil.which(program) is None:
                raise Missing(f"{program} is not installed")

    def run(self, command: list[str], daemon: int = 0) -> Usage:
        return measure(command, self.environment, daemon, PEER_TIMEOUT_S)[0]

    def first_line(self, *command: str) -> str:
        output = subprocess.run(command, capture_output=True, text=True, env=self.environment).stdout
        found = re.search(r"\d+\.\d+(\.\d+)?", output)
        return found.group() if found else ""


class OwnBuilder(Builder):
    """firkin itself, as root or as the user who measures."""

    name = "firkin"

    def start(self) -> None:
        self.options: tuple[str, ...] = ()
        self.output = ""
        self.fresh()

    def fresh(self) -> None:
        super().fresh()
        kind = "root" if os.geteuid() == 0 else "user"
        self.firkin: Firkin = make_firkin(kind, self.place / f"firkin-{self.stores}")
        self.environment = self.firkin.environment()

    def version(self) -> str:
        return self.first_line(*self.firkin.command("--version"))

    def command(self, context: Path, push: str = "", *, archive: Path | None = None, cache: bool = True) -> list[str]:
        options = ["--build-arg", f"BASE={self.base}", *([] if cache else ["--no-cache"])]
        options += ["-t", push, "--push"] if push else []
        options += [f"--output=type=oci,dest={archive}"] if archive else []
        return self.firkin.command("build", "--progress=json", *options, context)

    def build(
        self, context: Path, push: str = "", *, archive: Path | None = None, cache: bool = True
    ) -> Usage:
        usage, self.output = measure(self.command(context, push, archive=archive, cache=cache), self.environment)
        return usage


class Buildah(Builder):
    """buildah, rootful or rootless as the user; layers cached as firkin does."""

    name = "buildah"
    isolation = ("--isolation", "chroot")

    def start(self) -> None:
        self.need(self.name)

    def version(self) -> str:
        return self.first_line(self.name, "--version")

    def _command(self, *arguments: str) -> list[str]:
        root = self.place / f"{self.name}-{self.stores}"
        return [self.name, "--root", f"{root}/store", "--runroot", f"{root}/run", "--storage-driver", "overlay",
                *arguments]  # fmt: skip

    def build(self, context: Path, push: str = "", *, cache: bool = True) -> Usage:
        name = push or "bench:local"
        options = ["--layers", *([] if cache else ["--no-cache"])]
        options += ["--tls-verify=false", "--build-arg", f"BASE={self.base}", "-t", name]
        usage = self.run(self._command("build", *self.isolation, *options, str(context)))
        return usage + self.run(self._command("push", "--tls-verify=false", name)) if push else usage


class Podman(Buildah):
    """podman build: buildah's code behind another command line."""

    name = "podman"


class Docker(Builder):
    """dockerd with its BuildKit, warm; a new daemon for each empty store."""

    name = "docker"

    def start(self) -> None:
        self.need("dockerd")
        if os.geteuid() != 0:
            raise Missing("dockerd needs root")
        # A newer client of somebody else's packages may lack BuildKit without its plug-in.
        self.client = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
        self.environment["DOCKER_BUILDKIT"] = "1"
        self.environment["DOCKER_CONFIG"] = self.environment["HOME"]
        self.fresh()

    def version(self) -> str:
        return self.first_line("dockerd", "--version")

    def fresh(self) -> None:
        super().fresh()
        self.stack.close()
        place = self.new_directory(str(self.stores))
        self.environment["DOCKER_HOST"] = f"unix://{place}/socket"
        # Without iptables and bridge it runs in any container or machine; steps share the host's network.
        self.daemon = _start_daemon(
            ["dockerd", "--data-root", f"{place}/data", "--exec-root", f"{place}/exec", "--pidfile", f"{place}/pid",
             "-H", f"unix://{place}/socket", "--iptables=false", "--ip6tables=false", "--bridge=none"],
            place, self.stack, lambda: self._answers(),
        )  # fmt: skip

    def _answers(self) -> bool:
        return subprocess.run([self.client, "version"], env=self.environment, capture_output=True).returncode == 0

    def build(self, context: Path, push: str = "", *, cache: bool = True) -> Usage:
        name = push or "bench:local"
        options = [] if cache else ["--no-cache"]
        usage = self.run(
            [self.client, "build", "--network=host", *options, "--build-arg", f"BASE={self.base}", "-t", name,
             str(context)], self.daemon,
        )  # fmt: skip
        return usage + self.run([self.client, "push", name], self.daemon) if push else usage


class BuildKit(Builder):
    """buildkitd and buildctl, warm; a new daemon for each empty store."""

    name = "buildkit"

    def start(self) -> None:
        self.need("buildctl", "buildkitd")
        self.fresh()

    def version(self) -> str:
        return self.first_line("buildctl", "--version")

    def fresh(self) -> None:
        super().fresh()
        self.stack.close()
        place = self.new_directory(str(self.stores))
        (place / "config.toml").write_text(f'[registry."{self.registry}"]\n  http = true\n')
        self.environment["BUILDKIT_HOST"] = f"unix://{place}/socket"
        self.daemon = _start_daemon(
            ["buildkitd", "--root", f"{place}/data", "--addr", f"unix://{place}/socket", "--config",
             f"{place}/config.toml"], place, self.stack, lambda: self._answers(),
        )  # fmt: skip

    def _answers(self) -> bool:
        command = ["buildctl", "debug", "workers"]
        return subprocess.run(command, env=self.environment, capture_output=True).returncode == 0

    def build(self, context: Path, push: str = "", *, cache: bool = True) -> Usage:
        options = [] if cache else ["--no-cache"]
        output = ["--output", f"type=image,name={push},push=true,registry.insecure=true"] if push else []
        return self.run(
            ["buildctl", "build", "--progress=plain", "--frontend=dockerfile.v0", "--local", f"context={context}",
             "--local", f"dockerfile={context}", "--opt", f"build-arg:BASE={self.base}", *options, *output],
            self.daemon,
        )  # fmt: skip


class Kaniko(Builder):
    """The Kaniko executor: `/` is its root, so each build gets an empty one. It keeps its cache in the registry."""

    name = "kaniko"

    def start(self) -> None:
        self.need("executor", "unshare")
        if os.geteuid() != 0:
            raise Missing("the executor's empty root needs root to be made")

    def fresh(self) -> None:
        super().fresh()
        self.cache = f"{self.registry}/kaniko-cache/{self.stores}"

    def build(self, context: Path, push: str = "", *, cache: bool = True) -> Usage:
        root = self.new_directory(f"root-{self.stores}-{time.monotonic_ns()}")
        for name in ("kaniko", "proc", "dev", "etc", "tmp", "workspace"):
            (root / name).mkdir()
        program = shutil.which("executor")
        assert program is not None
        shutil.copy(program, root / "kaniko/executor")
        script = (
            'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount --bind "$1" "$0/workspace" && '
            'shift && exec chroot "$0" /kaniko/executor --force --insecure --insecure-pull "$@"'
        )
        arguments = ["--context", "dir:///workspace", "--build-arg", f"BASE={self.base}"]
        arguments += ["--destination", push] if push else ["--no-push"]
        if cache:
            arguments += ["--cache", "--cache-repo", self.cache]
        return self.run(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, str(root), str(context), *arguments]
        )


PEERS: tuple[type[Builder], ...] = (Docker, BuildKit, Kaniko, Buildah, Podman)


def find_peers(place: Path, registry: str, base: str) -> tuple[list[Builder], dict[str, str]]:
    """Return the peers of this machine, and why the others take no part."""
    here, absent = [], {}
    for peer in PEERS:
        try:
            here.append(peer(place, registry, base))
        except Missing as error:
            absent[peer.name] = str(error)
    return here, absent


def _start_daemon(command: list[str], place: Path, stack: ExitStack, answers: Callable[[], bool]) -> int:
    log = stack.enter_context(open(place / "log", "wb"))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place)
    stack.callback(_end, process)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if answers():
            return process.pid
        time.sleep(0.1)
    stack.close()
    raise Missing(f"{command[0]} does not start: {(place / 'log').read_text(errors='replace').strip()[-200:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


__all__ = ["Builder", "CommandFailed", "Missing", "OwnBuilder", "find_peers"]

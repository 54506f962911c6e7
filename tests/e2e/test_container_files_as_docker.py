"""cp, diff, export and commit give what dockerd gives for the same commands."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.containers import make_box
from support.dockerd import Docker, running_dockerd
from support.registry import Registry
from support.scripts import run_python

pytestmark = [pytest.mark.registry, pytest.mark.root, pytest.mark.clients]

CHANGES = (
    "mkdir -p /d/e /mode; echo hi > /d/f; ln /d/f /d/g; ln -s /d /l; chmod 4755 /d/f; mkfifo /d/p; rm -rf /home /etc/group;"
    "touch /etc/passwd; chmod 700 /root; rm -r /var; mkdir /var; echo x > /var/x; chown 5:6 /d/e; touch /ready"
)
_RUN = """
import firkin, sys
box = firkin.connect().containers.create("box:1", ["sh", "-c", sys.argv[1]], name="twin", network_mode="none",
                                         environment={"A": "1"}, labels={"l": "m"}, user="0", working_dir="/d")
box.start()
box.wait()
"""
# What dockerd puts into a container, and firkin does not.
STUBS = {".dockerenv", "dev/console", "dev/pts", "dev/shm", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"}


@pytest.fixture(scope="module")
def twins(scratch_root: Path, registry: Registry) -> Iterator[tuple[Firkin, Docker]]:
    """One container of each, in which the same was done."""
    firkin = make_firkin("root", scratch_root / "twins", registry.url)
    make_box(firkin)
    run_python(firkin, _RUN, CHANGES)
    with running_dockerd(scratch_root / "dockerd") as docker:
        firkin.run("save", "-o", "box.tar", "box:1")
        docker.run("load", "-i", firkin.place / "box.tar")
        docker.run("run", "--network", "none", "--name", "twin", "-e", "A=1", "-l", "l=m", "-u", "0", "-w", "/d", "box:1",
                   "sh", "-c", CHANGES)  # fmt: skip
        yield firkin, docker
    run_python(firkin, "import firkin; firkin.connect().containers.get('twin').remove(force=True)")


def listed(data: bytes) -> dict[str, tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            member.name: (member.type, member.mode & 0o7777, member.uid, member.gid, member.size, member.linkname)
            for member in tar
            if member.name not in STUBS
        }


def from_docker(docker: Docker, *words: str) -> bytes:
    return bytes(docker.run(*words, text=False).stdout)  # type: ignore[arg-type]


def from_firkin(firkin: Firkin, *words: str) -> bytes:
    done = firkin.account.run(firkin.command(*words), env=firkin.environment(), text=False, errors=None)
    assert done.returncode == 0, done.stderr
    return bytes(done.stdout)  # type: ignore[arg-type]


def test_changes(twins: tuple[Firkin, Docker]) -> None:
    firkin, docker = twins
    expected = sorted(docker.run("diff", "twin").stdout.splitlines(), key=lambda line: line[2:])
    assert firkin.run("diff", "twin").stdout.splitlines() == expected


@pytest.mark.parametrize("path", ["/d", "/d/.", "/d/", "/l", "/l/", "/l/.", "/d/f", "/etc/passwd", "/root/."])
def test_archives(twins: tuple[Firkin, Docker], path: str) -> None:
    firkin, docker = twins
    assert listed(from_firkin(firkin, "cp", f"twin:{path}", "-")) == listed(from_docker(docker, "cp", f"twin:{path}", "-"))


def test_export(twins: tuple[Firkin, Docker]) -> None:
    firkin, docker = twins
    ours, theirs = listed(from_firkin(firkin, "export", "twin")), listed(from_docker(docker, "export", "twin"))
    assert {name for name in ours if ours[name] != theirs.get(name)} == set()
    assert theirs.keys() - ours.keys() <= {"dev", "proc", "sys"}


def test_configuration_of_a_commit(twins: tuple[Firkin, Docker]) -> None:
    firkin, docker = twins
    words = ("commit", "-a", "Me", "-m", "a comment", "-c", "CMD [\"x\", \"y\"]", "-c", "EXPOSE 80", "-c", "ENV B=2",
             "-c", "LABEL n=o", "-c", "VOLUME /v", "-c", "WORKDIR sub", "-c", "USER 7", "twin", "done:1")  # fmt: skip
    docker.run(*words)
    firkin.run(*words)
    (ours,) = json.loads(firkin.run("inspect", "done:1").stdout)
    theirs = docker.inspect("done:1")
    assert {name: ours[name] for name in ("Author", "Comment", "Os", "Architecture")} == {
        name: theirs[name] for name in ("Author", "Comment", "Os", "Architecture")
    }
    for name in ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"):
        assert ours["Config"][name] == theirs["Config"][name], name
    assert len(ours["RootFS"]["Layers"]) == len(theirs["RootFS"]["Layers"])
    history = docker.run("history", "--format", "{{.CreatedBy}}|{{.Comment}}", "--no-trunc", "done:1").stdout.splitlines()
    assert firkin.run("history", "--format", "{{.CreatedBy}}|{{.Comment}}", "--no-trunc", "done:1").stdout.splitlines()[
        0
    ] == history[0]

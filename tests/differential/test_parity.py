"""Docker's commands by docker (against a dockerd) and by firkin called `docker`: same output, same exit codes.

The differences that are meant stand in sessions.MEANT, from which docs/docker-differences.md is made:
`PYTHONPATH=tests python -m differential.test_parity`.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from differential.builders import docker_command, running_dockerd
from differential.parity import Outcome, Step, Tool, called_docker, compared, differences, normalised, split
from differential.sessions import MEANT, SESSION
from support.places import REPOSITORY
from support.registry import Registry, running_registry

pytestmark = pytest.mark.clients

PAGE = REPOSITORY / "docs" / "docker-differences.md"
EPOCH = "1700000000"
BUSYBOX = "/usr/bin/busybox"
APP = """FROM scratch
LABEL colour={colour}
ENV A=1 B="two words"
WORKDIR /srv
COPY one /srv/
COPY two /srv/deep/
CMD ["/srv/one", "-x"]
"""


def fill(registry: Registry, place: Path) -> None:
    """Put the images of the sessions into the registry."""
    context = place / "images"
    context.mkdir()
    (context / "one").write_bytes(b"1" * 12345)
    (context / "two").write_bytes(b"2" * 1234567)
    for number, (name, colour, platforms) in enumerate((
        ("app:1", "red", "linux/amd64"), ("app:2", "blue", "linux/amd64"), ("other:1", "green", "linux/amd64"),
        ("multi:1", "none", "linux/amd64,linux/arm64"),
    )):  # fmt: skip
        (context / "Dockerfile").write_text(APP.format(colour=colour))
        words = [
            sys.executable, "-m", "firkin", "build", "--root", place / "maker", "--no-cache", "--platform", platforms,
            "--source-date-epoch", str(int(EPOCH) + number * 86400), "--rewrite-timestamp", "-o",
            f"type=registry,oci-mediatypes=false,name={registry.host}/{name}", context,
        ]  # fmt: skip
        subprocess.run(list(map(str, words)), check=True, capture_output=True)
    shutil.copy(BUSYBOX, context / "busybox")
    (context / "sh").symlink_to("busybox")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox sh /bin/\n")
    words = [
        sys.executable, "-m", "firkin", "build", "--root", place / "maker", "-o",
        f"type=registry,oci-mediatypes=false,name={registry.host}/box:1", context,
    ]  # fmt: skip
    subprocess.run(list(map(str, words)), check=True, capture_output=True)


def files(place: Path) -> None:
    """Make the files that the sessions read."""
    place.mkdir()
    (place / "text.txt").write_text("no archive\n")
    with tarfile.open(place / "rootfs.tar", "w") as archive:
        member = tarfile.TarInfo("etc/hello")
        member.size = 6
        archive.addfile(member, io.BytesIO(b"hello\n"))
    context = place / "context"
    context.mkdir()
    (context / "Dockerfile").write_text('FROM scratch\nENV C=d\nCOPY Dockerfile /\nCMD ["x"]\n')


def tools(place: Path, host: str, docker: str) -> tuple[Tool, Tool]:
    """Return docker and firkin, each with a directory and a configuration of its own."""
    files(place / "theirs")
    files(place / "ours")
    link = called_docker(place)
    theirs = Tool((docker,), place / "theirs", {"DOCKER_HOST": host, "DOCKER_CONFIG": str(place / "theirs" / "config")})
    ours = Tool((str(link),), place / "ours", {
        "FIRKIN_ROOT": str(place / "store"), "DOCKER_CONFIG": str(place / "ours" / "config"), "HOME": str(place / "ours"),
    })  # fmt: skip
    return theirs, ours


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tool, Tool, Registry]]:
    place = tmp_path_factory.mktemp("parity")
    docker = os.environ.get("PARITY_DOCKER") or docker_command()
    assert docker is not None
    with running_registry() as registry, running_dockerd(place, registry.host, docker) as host:
        fill(registry, place)
        yield (*tools(place, host, docker), registry)


@pytest.mark.registry
@pytest.mark.buildkit
@pytest.mark.xdist_group("differential")
@pytest.mark.timeout(600)
def test_session(pair: tuple[Tool, Tool, Registry]) -> None:
    theirs, ours, registry = pair
    found = dict(differences(SESSION, theirs, ours, registry.host))
    names = {step.line for step in found}
    told = [f"{step.line}\n  {how}" for step, how in found.items() if step.line not in MEANT]
    assert not told, "\n".join(["not the same as docker:", *told])
    assert not MEANT.keys() - names, f"these are the same now: {sorted(MEANT.keys() - names)}"


def test_the_page_of_differences_is_made_from_the_table() -> None:
    assert PAGE.read_text() == page()
    assert MEANT.keys() <= {step.line for step in SESSION}


def test_comparison_sees_differences(tmp_path: Path) -> None:
    step = Step("x", says="word")
    same = Outcome(1, "a", "a word")
    assert compared(step, same, same) == ""
    assert "exit code 1, firkin's 2" in compared(step, same, Outcome(2, "a", "word"))
    assert "stdout 'a', firkin's 'b'" in compared(step, same, Outcome(1, "b", "word"))
    assert "firkin does not say 'word'" in compared(step, same, Outcome(1, "a", "other"))
    assert split("a 'b c' -f '{{e f}}' ''") == ["a", "b c", "-f", "{{e f}}", ""]
    text = f"{tmp_path}/x 127.0.0.1:5/a 3 minutes ago 2023-11-14T22:13:20.5Z"
    assert normalised(text, "127.0.0.1:5", tmp_path) == "PLACE/x REGISTRY/a LATELY TIME"


def page() -> str:
    """Return the page of differences."""
    lines = [
        "# Where firkin's commands differ from docker's",
        "",
        "<!-- Made from tests/differential/sessions.py by `PYTHONPATH=tests python -m differential.test_parity`. -->",
        "",
        f"{len(SESSION)} command lines are run with docker against a dockerd and with firkin called `docker`, on the same",
        "images of one registry; exit codes and output are compared. All are the same but these:",
        "",
        "| command | what differs, and why |",
        "| --- | --- |",
    ]
    for line, reason in MEANT.items():
        cell = line.replace("|", "\\|").replace("{registry}/", "")
        lines.append(f"| `{cell}` | {reason} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())

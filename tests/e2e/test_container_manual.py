"""The commands in docs/containers.md, as they stand there and in that order, as root and as an ordinary user."""

import re
import shlex
from collections.abc import Iterator

import pytest
from support.accounts import Firkin
from support.containers import make_box, remove_containers
from support.places import REPOSITORY

pytestmark = [pytest.mark.registry, pytest.mark.userns]

PAGE = (REPOSITORY / "docs/containers.md").read_text()
# What follows two blanks says what a command is for.
COMMANDS = [re.split(r" {2,}", line)[0] for line in re.findall(r"^ {4}firkin (.*)$", PAGE, re.MULTILINE)]
# They need a terminal, or end never: test_run.py and test_watching.py have them.
ELSEWHERE = ("run --rm -it", "exec -it", "attach web", "stats")
LIMITS = re.compile(r"--(memory|cpus|pids-limit)\b")
APP = r"""FROM box:1
RUN echo 'app:x:1000:1000::/:/bin/sh' >>/etc/passwd && printf '#!/bin/sh\nexit 0\n' >/bin/make && chmod 755 /bin/make
CMD ["sleep", "1000"]
"""


@pytest.fixture
def manual(firkin: Firkin) -> Iterator[Firkin]:
    make_box(firkin)
    context = firkin.directory("app")
    (context / "Dockerfile").write_text(APP)
    firkin.account.give(context)
    firkin.run("build", "-t", "app:1", context)
    yield firkin
    remove_containers(firkin)


def said(firkin: Firkin, command: str) -> str:
    """Run a command of the page and return its output; NAME is a container that was made for it."""
    words = [word.removesuffix("...").replace("NAME", "named") for word in shlex.split(command)]
    named = "named" in words
    if named:
        lives = "1" if words[0] in ("wait", "logs") else "1000"
        firkin.run("run", "-d", "--name", "named", "--network", "none", "app:1", "sleep", lives)
    try:
        return firkin.run(*words, cwd=firkin.place / "app").stdout
    finally:
        if named:
            firkin.run("rm", "-f", "named")


def test_the_commands_of_the_page(manual: Firkin) -> None:
    ran = {}
    for command in COMMANDS:
        if command.startswith(ELSEWHERE) or (manual.account.uid and LIMITS.search(command)):
            continue
        if command == "pause NAME..., unpause":
            manual.run("run", "-d", "--name", "paused", "--network", "none", "app:1")
            ran[command] = manual.run("pause", "paused").stdout + manual.run("unpause", "paused").stdout
        else:
            ran[command] = said(manual, command)
    assert len(ran) > 20
    assert ran["run --rm --network none app:1 echo hello"] == "hello\n"
    assert "A=1\n" in ran["exec -u app -e A=1 -w /tmp web env"] and ran["wait NAME..."] == "0\n"
    assert "web" in ran["ps"] and "later" in ran["ps -a"] and "later" not in ran["ps"]
    assert ran["inspect -f '{{.State.ExitCode}}' NAME"] == "0\n" and ran["stop NAME..."] == "named\n"
    assert "sleep" in ran["top NAME"] and ran["pause NAME..., unpause"] == "paused\npaused\n"
